//! Joining of what is known of a machine, bounds, and the table of verdicts.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bloomery_hostnet::MacAddr;
use k8s_openapi::jiff::Timestamp;

use super::Trace;
use super::step::{Decided, FileKind, Moment, Recorded, Step, Via};
use super::store::{Identity, MAX_MACHINES, MAX_STEPS, Store, SystemUuid};
use super::verdict::{State, verdict};

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 50));

fn by_mac(mac: MacAddr) -> Identity {
    Identity { mac: Some(mac), ..Identity::default() }
}

#[test]
fn a_whole_boot_is_one_machine_with_one_verdict() {
    let trace = Trace::default();
    let firmware = Identity { uuid: SystemUuid::parse(UUID), ..by_mac(MAC) };
    trace.discover(firmware);
    trace.offer(firmware, Some(Via::Tftp), "snp.efi");
    trace.address(MAC, PEER);
    trace.loader(PEER, Via::Tftp, "snp.efi", Moment::Started);
    trace.loader(PEER, Via::Tftp, "snp.efi", Moment::Complete);
    trace.script(PEER);
    trace.decision(Some(UUID), Some("52:54:00:77:00:01"), PEER, Decided::Agent, "unknown machine");
    trace.file(PEER, FileKind::Kernel, Moment::Started);
    trace.file(PEER, FileKind::Kernel, Moment::Complete);
    trace.file(PEER, FileKind::Initramfs, Moment::Complete);
    trace.agent_hello(UUID, PEER);
    let report = trace.report();
    let machines = report["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 1, "{report:#}");
    let machine = &machines[0];
    assert_eq!(machine["uuid"], UUID);
    assert_eq!(machine["macs"][0], "52:54:00:77:00:01");
    assert_eq!(machine["addresses"][0], "10.77.0.50");
    assert_eq!(machine["verdict"]["state"], "done");
    let steps: Vec<&str> =
        machine["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "discover",
            "offer-tftp",
            "loader-tftp-started",
            "loader-tftp-complete",
            "boot-script",
            "decision-agent",
            "kernel-started",
            "kernel-complete",
            "initramfs-complete",
            "agent-hello"
        ]
    );
}

#[test]
fn what_came_before_the_name_is_joined_when_the_name_is_known() {
    let trace = Trace::default();
    // No REQUEST was seen, so nobody knows yet whose address this is.
    trace.discover(by_mac(MAC));
    trace.loader(PEER, Via::Http, "snp.efi", Moment::Complete);
    assert_eq!(trace.report()["machines"].as_array().unwrap().len(), 2);
    trace.decision(Some(UUID), Some("52:54:00:77:00:01"), PEER, Decided::Disk, "installed");
    let report = trace.report();
    assert_eq!(report["machines"].as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(report["machines"][0]["steps"].as_array().unwrap().len(), 3);
}

#[test]
fn an_address_that_moved_to_another_machine_joins_nothing() {
    let trace = Trace::default();
    trace.address(MAC, PEER);
    trace.address(MacAddr([2; 6]), PEER);
    trace.script(PEER);
    let report = trace.report();
    let machines = report["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 2);
    assert_eq!(machines[0]["macs"][0], "02:02:02:02:02:02");
    assert_eq!(machines[0]["steps"].as_array().unwrap().len(), 1);
    assert_eq!(machines[1]["steps"].as_array().unwrap().len(), 0);
}

#[test]
fn who_only_looks_at_the_boot_script_is_no_machine_that_failed() {
    let script = || Recorded {
        first: Instant::now(),
        last: Instant::now(),
        step: Step::Script,
        detail: Cow::Borrowed(""),
        count: 1,
    };
    let later = Instant::now() + Duration::from_mins(30);
    assert_eq!(verdict(&[script()], false, later).state, State::Done);
    assert_eq!(verdict(&[script()], true, later).state, State::Failed);
}

#[test]
fn boards_without_a_uuid_are_not_joined_by_it() {
    for text in
        ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "x", "", "4c4c"]
    {
        assert_eq!(SystemUuid::parse(text), None, "{text}");
    }
    assert_eq!(SystemUuid::parse(UUID).unwrap().to_string(), UUID);
}

#[test]
fn memory_is_bounded_and_the_oldest_makes_room() {
    let (mut store, now) = (Store::default(), Instant::now());
    for number in 0..u32::try_from(MAX_MACHINES + 100).unwrap() {
        let [a, b, c, d] = number.to_be_bytes();
        store.add(&by_mac(MacAddr([2, 0, a, b, c, d])), Step::Discover, Cow::Borrowed(""), now);
        store.add(&by_mac(MAC), Step::Discover, Cow::Borrowed(""), now);
    }
    assert_eq!(store.report(now, Timestamp::now())["machines"].as_array().unwrap().len(), MAX_MACHINES);
    for number in 0..MAX_STEPS * 2 {
        store.add(&by_mac(MAC), Step::Script, Cow::Owned(number.to_string()), now);
    }
    let report = store.report(now, Timestamp::now());
    let newest = &report["machines"][0];
    assert_eq!(newest["macs"][0], "52:54:00:77:00:01");
    let steps = newest["steps"].as_array().unwrap();
    assert_eq!(steps.len(), MAX_STEPS);
    assert_eq!(steps[MAX_STEPS - 1]["detail"], (MAX_STEPS * 2 - 1).to_string());
}

#[test]
fn repeated_discovers_and_offers_count_up() {
    let trace = Trace::default();
    for _ in 0..40 {
        trace.discover(by_mac(MAC));
        trace.offer(by_mac(MAC), Some(Via::Tftp), "snp.efi");
    }
    let report = trace.report();
    let steps = report["machines"][0]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert_eq!((&steps[0]["count"], &steps[1]["count"]), (&40.into(), &40.into()));
}

/// Steps a second apart, the last at `now - waited`.
fn judged(steps: &[Step], waited: Duration) -> (State, &'static str, &'static str) {
    let start = Instant::now();
    let mut at = start;
    let mut recorded = Vec::new();
    for &step in steps {
        at += Duration::from_secs(1);
        recorded.push(Recorded { first: at, last: at, step, detail: Cow::Borrowed(""), count: 1 });
    }
    let found = verdict(&recorded, true, at + waited);
    (found.state, found.what, found.advice)
}

#[test]
fn each_step_without_its_successor_names_a_failure_and_a_remedy() {
    let long = Duration::from_mins(30);
    let decided = Step::Decision(Decided::Agent);
    for (steps, word, remedy) in [
        (&[Step::Discover, Step::Offer(Some(Via::Tftp))][..], "never asked", "UDP port 69"),
        (&[Step::Offer(Some(Via::Http))], "never asked", "plain http"),
        (&[Step::Offer(None)], "never fetched", "HTTP port"),
        (&[Step::Ack(Some(Via::Tftp))], "never asked", "another DHCP or PXE server"),
        (&[Step::Discover], "no answer", "log of bootsvc"),
        (&[Step::Loader(Via::Tftp, Moment::Complete)], "never fetched the boot script", "Secure Boot"),
        (&[Step::Loader(Via::Tftp, Moment::Probed)], "size", "HTTP boot"),
        (&[Step::Loader(Via::Http, Moment::Started)], "very long", "packets"),
        (&[Step::Script], "never asked what to boot", "lease"),
        (&[decided], "never fetched the kernel", "screen"),
        (&[decided, Step::File(FileKind::Kernel, Moment::Started)], "very long", "UNDI"),
        (
            &[decided, Step::File(FileKind::Kernel, Moment::Complete)],
            "never asked for the initramfs",
            "arm64",
        ),
        (&[decided, Step::File(FileKind::Initramfs, Moment::Complete)], "never called", "driver"),
    ] {
        let (state, what, advice) = judged(steps, long);
        assert_eq!(state, State::Failed, "{steps:?}");
        assert!(what.contains(word) && advice.contains(remedy), "{steps:?}: {what}; {advice}");
        assert_eq!(judged(steps, Duration::from_secs(5)).0, State::Booting, "{steps:?}");
    }
}

#[test]
fn some_steps_fail_at_once_and_some_end_well() {
    for step in [
        Step::Silent,
        Step::Loader(Via::Tftp, Moment::TimedOut),
        Step::Loader(Via::Tftp, Moment::NotTakenUp),
        Step::Loader(Via::Tftp, Moment::Aborted),
        Step::Loader(Via::Http, Moment::Aborted),
        Step::Loader(Via::Tftp, Moment::Refused),
        Step::Decision(Decided::NotFound),
        Step::Decision(Decided::NotReady),
        Step::Decision(Decided::Unavailable),
        Step::File(FileKind::Kernel, Moment::Aborted),
        Step::File(FileKind::Initramfs, Moment::Refused),
        Step::Configuration(false),
    ] {
        let (state, what, advice) = judged(&[step], Duration::ZERO);
        assert_eq!(state, State::Failed, "{step:?}");
        assert!(!what.is_empty() && !advice.is_empty(), "{step:?}");
    }
    let environment = Step::Decision(Decided::Environment);
    let initramfs = Step::File(FileKind::Initramfs, Moment::Complete);
    let given = Step::Configuration(true);
    for steps in [
        &[Step::Decision(Decided::Disk)][..],
        &[environment, initramfs],
        // The files may come from elsewhere than the plane.
        &[environment, given],
        &[environment, initramfs, Step::Configuration(false), given],
        &[Step::AgentHello],
    ] {
        assert_eq!(judged(steps, Duration::from_hours(1)).0, State::Done, "{steps:?}");
    }
}
