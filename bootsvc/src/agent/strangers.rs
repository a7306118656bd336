//! Bounds on what machines make the plane store: those that nobody accepted, how many and how fast; those that are
//! wiped, how often.
//!
//! It must never stand in the way of a machine that is registered and shows its token.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::decision::identity::Marks;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connection::network_of;
use crate::recent::Recent;

/// Servers that wait for a person at once: more than anybody accepts one by one.
pub(super) const MAX_UNACCEPTED: usize = 2000;
/// Writes that one address (of IPv6: network of 64 bits) may cause at once, and then in a second. Behind a router that
/// hides them, machines have one address.
const ADDRESS_BURST: f64 = 64.0;
const ADDRESS_RATE: f64 = 1.0;
/// The same of all addresses together.
const ALL_BURST: f64 = 2000.0;
const ALL_RATE: f64 = 20.0;
/// Heartbeats of all machines that are written at once, and then in a second.
const HEARTBEAT_BURST: f64 = 64.0;
const HEARTBEAT_RATE: f64 = 20.0;
/// Addresses remembered; beyond it those whose share is full again make room.
const MAX_ADDRESSES: usize = 16_384;

/// An agent that showed a good token this long ago is not taken for a stranger: it calls every half minute.
const VOUCHED_FOR: Duration = Duration::from_mins(5);

/// What a stranger may still cause.
#[derive(Debug, Clone, Copy)]
struct Share {
    left: f64,
    since: Instant,
}

impl Share {
    fn take(&mut self, burst: f64, rate: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = passed.mul_add(rate, self.left).min(burst);
        self.since = now;
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

#[derive(Debug, Default)]
struct State {
    all: Option<Share>,
    heartbeats: Option<Share>,
    of_address: HashMap<IpAddr, Share>,
    /// Marks of registrations that are under way.
    under_way: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Strangers {
    state: Mutex<State>,
    /// Addresses that showed a good token.
    vouched: Mutex<Recent<IpAddr>>,
    /// A registration is over.
    ended: Notify,
}

impl Default for Strangers {
    fn default() -> Self {
        let vouched = Mutex::new(Recent::new(MAX_ADDRESSES, VOUCHED_FOR));
        Self { state: Mutex::default(), vouched, ended: Notify::new() }
    }
}

impl Strangers {
    /// Whether one more write may be made for a stranger at this address.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut state = self.state.lock();
        let State { all, of_address, .. } = &mut *state;
        // This host's own addresses: tests, and machines that are simulated.
        if !address.is_loopback() {
            if of_address.len() >= MAX_ADDRESSES {
                of_address.retain(|_, share| {
                    let passed = now.saturating_duration_since(share.since).as_secs_f64();
                    passed.mul_add(ADDRESS_RATE, share.left) < ADDRESS_BURST
                });
            }
            let network = network_of(address);
            if of_address.len() >= MAX_ADDRESSES && !of_address.contains_key(&network) {
                return false;
            }
            let share = of_address.entry(network).or_insert(Share { left: ADDRESS_BURST, since: now });
            if !share.take(ADDRESS_BURST, ADDRESS_RATE, now) {
                return false;
            }
        }
        all.get_or_insert(Share { left: ALL_BURST, since: now }).take(ALL_BURST, ALL_RATE, now)
    }

    /// Whether one more heartbeat may be written that is no news.
    pub(super) fn admit_heartbeat(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let share = state.heartbeats.get_or_insert(Share { left: HEARTBEAT_BURST, since: now });
        share.take(HEARTBEAT_BURST, HEARTBEAT_RATE, now)
    }

    /// An agent at this address showed a good token.
    pub(super) fn vouch(&self, address: IpAddr, now: Instant) {
        self.vouched.lock().note(address, now);
    }

    /// Whether one did so lately.
    pub(super) fn is_vouched_for(&self, address: IpAddr, now: Instant) -> bool {
        self.vouched.lock().has(&address, now)
    }

    /// Keeps other registrations with one of these marks away until the value is dropped; waits for one that is under
    /// way.
    pub(super) async fn reserve(self: &Arc<Self>, marks: &Marks) -> Reserved {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if let Some(reserved) = self.try_reserve(marks) {
                return reserved;
            }
            ended.await;
        }
    }

    fn try_reserve(self: &Arc<Self>, marks: &Marks) -> Option<Reserved> {
        let Marks { uuids, serial, cards } = marks;
        let texts = uuids.iter().chain(serial).chain(cards).cloned();
        let marks: Vec<String> = texts.collect();
        let mut state = self.state.lock();
        if marks.iter().any(|mark| state.under_way.contains(mark)) {
            return None;
        }
        state.under_way.extend(marks.iter().cloned());
        drop(state);
        Some(Reserved { strangers: self.clone(), marks })
    }
}

/// A registration under way.
pub(super) struct Reserved {
    strangers: Arc<Strangers>,
    marks: Vec<String>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = self.strangers.state.lock();
        for mark in &self.marks {
            state.under_way.remove(mark);
        }
        drop(state);
        self.strangers.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_vouched_for_by_a_good_token_for_a_while() {
        let (strangers, start, host) = (Strangers::default(), Instant::now(), [10, 0, 0, 1].into());
        assert!(!strangers.is_vouched_for(host, start));
        strangers.vouch(host, start);
        assert!(
            strangers.is_vouched_for(host, start) && !strangers.is_vouched_for([10, 0, 0, 2].into(), start)
        );
        assert!(!strangers.is_vouched_for(host, start + VOUCHED_FOR));
    }

    #[test]
    fn one_address_has_its_share_and_all_have_theirs() {
        let (strangers, start) = (Strangers::default(), Instant::now());
        let host = |number: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number));
        let admitted = |from, now| (0..500).filter(|_| strangers.admit(from, now)).count();
        assert_eq!(admitted(host(1), start), 64);
        assert_eq!(admitted(host(1), start + Duration::from_secs(10)), 10);
        // One host with all addresses of a network.
        let v6 = |last: u16| format!("fd00::{last:x}").parse::<IpAddr>().unwrap();
        assert_eq!((0..500).filter(|last| strangers.admit(v6(*last), start)).count(), 64);
        let many = (2..5000).filter(|number| strangers.admit(host(*number), start)).count();
        assert!((1800..2000).contains(&many), "{many}");
        let later = start + Duration::from_secs(5);
        assert!(
            (90..=110).contains(&(6000..9000).filter(|number| strangers.admit(host(*number), later)).count())
        );
        assert!(strangers.state.lock().of_address.len() <= MAX_ADDRESSES);
    }

    #[test]
    fn two_registrations_with_one_mark_do_not_run_at_once() {
        let strangers = Arc::new(Strangers::default());
        let of = |uuid, card, serial| Marks::of_query(Some(uuid), Some(card), Some(serial));
        let one = of("4c4c4544-0042-3110-8051-b7c04f4e3332", "52:54:00:77:00:01", "SN00001");
        let clone = of("4c4c4544-0042-3110-8051-b7c04f4e3333", "52:54:00:77:00:01", "SN00002");
        let other = of("4c4c4544-0042-3110-8051-b7c04f4e3334", "52:54:00:77:00:03", "SN00003");
        let held = strangers.try_reserve(&one);
        assert!(
            held.is_some()
                && strangers.try_reserve(&clone).is_none()
                && strangers.try_reserve(&other).is_some()
        );
        drop(held);
        assert!(strangers.try_reserve(&clone).is_some());
    }
}
