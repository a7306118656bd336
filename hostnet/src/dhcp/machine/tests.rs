//! Tables with a clock of their own.

use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use proptest::prelude::*;

use super::*;
use crate::dhcp::message::test_replies::{Fields, reply};

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// A client with a clock that only the test moves.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let identity = Identity { mac: MAC, hostname: Some("m1".to_owned()) };
        let timing = Timing { jitter: Duration::ZERO, ..Timing::default() };
        Self { machine: Machine::new(identity, timing, 7, now), now }
    }

    fn bound() -> Self {
        let mut bench = Self::new();
        let discover = sent(&bench.poll());
        let request = sent(&bench.answer(&discover, 2, &Fields::default()));
        let outputs = bench.answer(&request, 5, &Fields::default());
        assert!(matches!(outputs.as_slice(), [Output::Event(Event::Bound(_))]), "{outputs:?}");
        bench
    }

    fn poll(&mut self) -> Vec<Output> {
        self.machine.poll(self.now)
    }

    /// Moves the clock to the next deadline and does what is due; gives the seconds that passed.
    fn next(&mut self) -> (f64, Vec<Output>) {
        let deadline = self.machine.deadline().expect("something is due");
        let passed = deadline.saturating_duration_since(self.now).as_secs_f64();
        self.now = self.now.max(deadline);
        (passed, self.poll())
    }

    fn answer(&mut self, question: &Message, kind: u8, fields: &Fields) -> Vec<Output> {
        self.machine.receive(self.now, &reply(MAC, question.xid(), kind, fields))
    }
}

fn packets(outputs: &[Output]) -> Vec<(Message, SendTo)> {
    let packet = |output: &Output| match output {
        Output::Send { payload, to } => Some((Message::decode(&mut Decoder::new(payload)).unwrap(), *to)),
        Output::Event(_) => None,
    };
    outputs.iter().filter_map(packet).collect()
}

fn sent(outputs: &[Output]) -> Message {
    let [(message, _)] = packets(outputs).try_into().unwrap_or_else(|_| panic!("one packet in {outputs:?}"));
    message
}

fn events(outputs: &[Output]) -> Vec<&Event> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } => None,
        })
        .collect()
}

fn requested(message: &Message) -> (Option<Ipv4Addr>, Option<Ipv4Addr>, Ipv4Addr) {
    let address = |code| match message.opts().get(code) {
        Some(DhcpOption::RequestedIpAddress(address) | DhcpOption::ServerIdentifier(address)) => {
            Some(*address)
        }
        _ => None,
    };
    (address(OptionCode::RequestedIpAddress), address(OptionCode::ServerIdentifier), message.ciaddr())
}

#[test]
fn a_discover_says_who_asks_and_wants_a_broadcast() {
    let mut bench = Bench::new();
    let outputs = bench.poll();
    let message = sent(&outputs);
    assert_eq!(packets(&outputs)[0].1, SendTo::Broadcast);
    assert!(message.flags().broadcast());
    assert_eq!(message.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(message.chaddr(), MAC.octets());
    let identifier = DhcpOption::ClientIdentifier(vec![1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(message.opts().get(OptionCode::ClientIdentifier), Some(&identifier));
    assert_eq!(message.opts().get(OptionCode::Hostname), Some(&DhcpOption::Hostname("m1".to_owned())));
    let Some(DhcpOption::ParameterRequestList(wanted)) = message.opts().get(OptionCode::ParameterRequestList)
    else {
        panic!("no parameter request list");
    };
    let wanted: Vec<u8> = wanted.iter().map(|code| u8::from(*code)).collect();
    assert_eq!(wanted, [1, 121, 3, 6, 12, 15, 26, 42, 51, 58, 59]);
    let Output::Send { payload, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert!(payload.len() >= 300);
}

#[test]
fn discovers_are_repeated_with_doubling_waits_and_silence_is_told() {
    let mut bench = Bench::new();
    let first = sent(&bench.poll());
    let mut told = Vec::new();
    let waits: Vec<f64> = (0..6)
        .map(|_| {
            let (passed, outputs) = bench.next();
            assert_eq!(sent(&outputs).xid(), first.xid());
            for event in events(&outputs) {
                let Event::NoAnswer { phase: Phase::Selecting, silent, carrier: true } = event else {
                    panic!("{event:?}")
                };
                told.push(silent.as_secs());
            }
            passed
        })
        .collect();
    assert_eq!(waits, [4.0, 8.0, 16.0, 32.0, 32.0, 32.0]);
    assert_eq!(told, [12, 28, 60, 92, 124]);
}

#[test]
fn an_offer_is_requested_from_its_server_and_acknowledged() {
    let mut bench = Bench::new();
    let discover = sent(&bench.poll());
    let outputs = bench.answer(&discover, 2, &Fields::default());
    let request = sent(&outputs);
    assert_eq!(packets(&outputs)[0].1, SendTo::Broadcast);
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(request.xid(), discover.xid());
    assert_eq!(requested(&request), (Some(ADDRESS), Some(SERVER), Ipv4Addr::UNSPECIFIED));
    let outputs = bench.answer(&request, 5, &Fields::default());
    let [Output::Event(Event::Bound(lease))] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(lease.address.to_string(), "10.0.0.100/24");
    assert_eq!(bench.machine.lease(), Some(lease));
    assert_eq!(bench.machine.phase(), Phase::Bound);
}

#[test]
fn answers_to_other_questions_machines_or_with_absurd_values_are_ignored() {
    let mut bench = Bench::new();
    let discover = sent(&bench.poll());
    let good = Fields::default();
    let foreign = reply(MacAddr([2; 6]), discover.xid(), 2, &good);
    let stale = reply(MAC, discover.xid().wrapping_add(1), 2, &good);
    for bytes in [foreign, stale] {
        assert_eq!(bench.machine.receive(bench.now, &bytes), []);
    }
    let absurd = [
        Fields { server: None, ..good },
        Fields { server: Some(Ipv4Addr::UNSPECIFIED), ..good },
        Fields { address: Ipv4Addr::UNSPECIFIED, ..good },
        Fields { address: Ipv4Addr::BROADCAST, ..good },
        Fields { address: Ipv4Addr::LOCALHOST, ..good },
        Fields { address: Ipv4Addr::new(10, 0, 0, 0), ..good },
        Fields { address: Ipv4Addr::new(10, 0, 0, 255), ..good },
        Fields { mask: Ipv4Addr::new(255, 0, 255, 0), ..good },
        Fields { mask: Ipv4Addr::UNSPECIFIED, ..good },
        Fields { seconds: Some(0), ..good },
        Fields { seconds: None, ..good },
    ];
    for fields in absurd {
        assert_eq!(bench.answer(&discover, 2, &fields), [], "{fields:?}");
    }
    assert_eq!(bench.answer(&discover, 5, &good), [], "an ack is no answer to a discover");
    assert_eq!(bench.machine.phase(), Phase::Selecting);
}

#[test]
fn a_refused_request_starts_over_after_growing_waits() {
    let mut bench = Bench::new();
    let mut question = sent(&bench.poll());
    for wait in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0] {
        let request = sent(&bench.answer(&question, 2, &Fields::default()));
        assert_eq!(bench.answer(&request, 6, &Fields::default()), []);
        assert_eq!(bench.machine.phase(), Phase::Init);
        let (passed, outputs) = bench.next();
        assert!((passed - wait).abs() < 1e-6, "{passed} instead of {wait}");
        let again = sent(&outputs);
        assert_ne!(again.xid(), question.xid());
        question = again;
    }
}

#[test]
fn a_server_that_offers_and_falls_silent_is_given_up_after_four_requests() {
    let mut bench = Bench::new();
    let discover = sent(&bench.poll());
    sent(&bench.answer(&discover, 2, &Fields::default()));
    let kinds: Vec<Option<MessageType>> = (0..4).map(|_| sent(&bench.next().1).opts().msg_type()).collect();
    assert_eq!(kinds[..3], [Some(MessageType::Request); 3]);
    assert_eq!(kinds[3], Some(MessageType::Discover));
}

#[test]
fn an_ack_or_nak_of_another_server_does_not_count_while_requesting() {
    let mut bench = Bench::new();
    let discover = sent(&bench.poll());
    let request = sent(&bench.answer(&discover, 2, &Fields::default()));
    let other = Fields { server: Some(Ipv4Addr::new(10, 0, 0, 3)), ..Fields::default() };
    assert_eq!(bench.answer(&request, 6, &other), []);
    assert_eq!(bench.answer(&request, 5, &other), []);
    assert_eq!(bench.machine.phase(), Phase::Requesting);
}

#[test]
fn renews_by_unicast_at_t1_rebinds_by_broadcast_at_t2_and_loses_at_the_end() {
    let mut bench = Bench::bound();
    let start = bench.now;
    let (passed, outputs) = bench.next();
    assert!((1710.0..=1800.0).contains(&passed), "T1 is {passed}");
    assert_eq!(packets(&outputs)[0].1, SendTo::Server(SERVER));
    assert_eq!(requested(&sent(&outputs)), (None, None, ADDRESS));
    let mut renewals = 1;
    loop {
        let (_, outputs) = bench.next();
        match bench.machine.phase() {
            Phase::Renewing => renewals += 1,
            Phase::Rebinding => {
                assert_eq!(packets(&outputs)[0].1, SendTo::Broadcast);
                assert_eq!(requested(&sent(&outputs)), (None, None, ADDRESS));
                break;
            }
            phase => panic!("{phase:?}"),
        }
    }
    // Half of what remains until T2, at least a minute: 1350, 675, 338, 169, 84, 60 … seconds.
    assert!((5..=7).contains(&renewals), "{renewals}");
    assert_eq!((bench.now - start).as_secs(), 3150);
    let lost = loop {
        let (_, outputs) = bench.next();
        if bench.machine.phase() != Phase::Rebinding {
            break outputs;
        }
    };
    assert_eq!((bench.now - start).as_secs(), 3600);
    assert!(matches!(events(&lost)[..], [Event::Lost { reason: LossReason::Expired, .. }]), "{lost:?}");
    assert_eq!(sent(&lost).opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(bench.machine.lease(), None);
}

#[test]
fn a_renewal_runs_from_the_moment_it_was_asked_for() {
    let mut bench = Bench::bound();
    let (_, outputs) = bench.next();
    let (asked, question) = (bench.now, sent(&outputs));
    bench.now += Duration::from_secs(5);
    let fields = Fields { seconds: Some(100), ..Fields::default() };
    let outputs = bench.answer(&question, 5, &fields);
    assert!(matches!(events(&outputs)[..], [Event::Renewed(_)]), "{outputs:?}");
    let renew = bench.machine.deadline().unwrap() - asked;
    assert!((47.5..=50.0).contains(&renew.as_secs_f64()), "{renew:?}");
}

#[test]
fn a_refused_renewal_loses_the_lease_and_starts_over_at_once() {
    let mut bench = Bench::bound();
    let question = sent(&bench.next().1);
    let outputs = bench.answer(&question, 6, &Fields::default());
    assert!(matches!(events(&outputs)[..], [Event::Lost { reason: LossReason::Refused, .. }]), "{outputs:?}");
    assert_eq!(sent(&outputs).opts().msg_type(), Some(MessageType::Discover));
}

#[test]
fn given_t1_and_t2_are_used_when_they_are_in_order() {
    for (t1, t2, renew, rebind) in
        [(10, 20, 10, 20), (20, 10, 50, 87), (0, 20, 50, 87), (10, 100, 50, 87), (200, 300, 50, 87)]
    {
        let fields = Fields { seconds: Some(100), t1: Some(t1), t2: Some(t2), ..Fields::default() };
        let reply = Reply::read(&reply(MAC, 1, 5, &fields), MAC).unwrap();
        let times = Lease::from_reply(&reply).unwrap().times.unwrap();
        assert_eq!((times.renew.as_secs(), times.rebind.as_secs()), (renew, rebind), "{t1} {t2}");
    }
}

#[test]
fn a_lease_for_ever_is_never_renewed() {
    let mut bench = Bench::new();
    let fields = Fields { seconds: Some(u32::MAX), ..Fields::default() };
    let discover = sent(&bench.poll());
    let request = sent(&bench.answer(&discover, 2, &fields));
    bench.answer(&request, 5, &fields);
    assert_eq!(bench.machine.phase(), Phase::Bound);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn a_replugged_cable_is_asked_for_confirmation_and_silence_keeps_the_lease() {
    let mut bench = Bench::bound();
    assert_eq!(bench.machine.carrier_changed(bench.now, false), []);
    let outputs = bench.machine.carrier_changed(bench.now, true);
    assert_eq!(packets(&outputs)[0].1, SendTo::Broadcast);
    assert_eq!(requested(&sent(&outputs)), (Some(ADDRESS), None, Ipv4Addr::UNSPECIFIED));
    while bench.machine.phase() == Phase::Rebooting {
        bench.next();
    }
    assert_eq!(bench.machine.phase(), Phase::Bound);
    assert!(bench.machine.lease().is_some());
}

#[test]
fn a_returning_carrier_ends_a_long_wait() {
    let mut bench = Bench::new();
    bench.poll();
    for _ in 0..5 {
        bench.next();
    }
    bench.machine.carrier_changed(bench.now, false);
    let outputs = bench.machine.carrier_changed(bench.now, true);
    assert_eq!(sent(&outputs).opts().msg_type(), Some(MessageType::Discover));
}

#[test]
fn a_leap_of_the_clock_over_the_whole_lease_loses_it_once() {
    let mut bench = Bench::bound();
    bench.now += Duration::from_secs(1_000_000);
    let outputs = bench.poll();
    assert_eq!(events(&outputs).len(), 1, "{outputs:?}");
    assert!(matches!(events(&outputs)[0], Event::Lost { reason: LossReason::Expired, .. }));
    assert_eq!(bench.machine.phase(), Phase::Selecting);
}

proptest! {
    #[test]
    fn arbitrary_bytes_neither_panic_nor_bind(bytes: Vec<u8>) {
        let mut bench = Bench::new();
        bench.poll();
        prop_assert_eq!(bench.machine.receive(bench.now, &bytes), []);
    }

    #[test]
    fn mutated_answers_never_panic_nor_stop_the_client(
        kinds in prop::collection::vec(1_u8..9, 1..12),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in 0_usize..400,
        seconds in prop::collection::vec(0_u64..2000, 12),
    ) {
        let mut bench = Bench::new();
        let mut outputs = bench.poll();
        for (kind, seconds) in kinds.into_iter().zip(seconds) {
            let xid = packets(&outputs).last().map_or(0, |(message, _)| message.xid());
            let mut bytes = reply(MAC, xid, kind, &Fields::default());
            for (place, value) in &changes {
                // The first bytes make it a reply to us; changing them only tests the first check.
                let place = 28 + place.index(bytes.len() - 28);
                bytes[place] = *value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut / 8));
            outputs = bench.machine.receive(bench.now, &bytes);
            if packets(&outputs).is_empty() {
                bench.now += Duration::from_secs(seconds);
                outputs = bench.poll();
            }
        }
        prop_assert!(bench.machine.deadline().is_none_or(|deadline| deadline > bench.now));
    }
}
