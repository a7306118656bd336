//! How often wrong pairing codes may be tried.
//!
//! Every attempt takes from its address's allowance and from that of all addresses together; a right code
//! gives it back. One address runs dry long before all do, so an attacker on one machine cannot keep the
//! rightful admin out. With 60 bits of secret even the limit of all addresses leaves a guess once in 10⁹ years.
//!
//! Time comes in as an argument: nothing here reads a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// One address: five tries, then one every six seconds.
const PER_ADDRESS: Rate = Rate { burst: 5, interval: Duration::from_secs(6) };
/// All addresses together: fifty tries, then ten a second.
const OVERALL: Rate = Rate { burst: 50, interval: Duration::from_millis(100) };
/// Addresses remembered; beyond it the ones not known share an allowance. About 200 KiB.
const MAX_ADDRESSES: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// An allowance that refills evenly (the generic cell rate algorithm, ITU-T I.371): all it keeps is the time
/// at which it will be full again.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    full_at: Instant,
}

impl Allowance {
    /// How long to wait until one may be taken; zero when it may be taken now.
    fn wait(self, rate: Rate, now: Instant) -> Duration {
        let tolerance = rate.interval * rate.burst.saturating_sub(1);
        self.full_at.saturating_duration_since(now).saturating_sub(tolerance)
    }

    fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now) + rate.interval;
    }

    fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.checked_sub(rate.interval).unwrap_or(self.full_at);
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// The allowances of wrong codes.
#[derive(Debug)]
pub(crate) struct WrongCodeLimit {
    overall: Allowance,
    by_address: HashMap<IpAddr, Allowance>,
    strangers: Allowance,
}

/// What an attempt took, to be given back when its code was right.
#[derive(Debug)]
#[must_use]
pub(crate) struct Attempt {
    /// None for an address that shares the strangers' allowance.
    address: Option<IpAddr>,
}

impl WrongCodeLimit {
    pub(crate) fn new(now: Instant) -> Self {
        let full = Allowance { full_at: now };
        Self { overall: full, by_address: HashMap::new(), strangers: full }
    }

    /// Takes one attempt, or says how long to wait for one.
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) -> Result<Attempt, Duration> {
        let overall = self.overall.wait(OVERALL, now);
        if !overall.is_zero() {
            return Err(overall);
        }
        let address = self.remember(subscriber(address), now);
        let allowance = match address {
            Some(address) => self.by_address.entry(address).or_insert(Allowance { full_at: now }),
            None => &mut self.strangers,
        };
        let wait = allowance.wait(PER_ADDRESS, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        allowance.take(PER_ADDRESS, now);
        self.overall.take(OVERALL, now);
        Ok(Attempt { address })
    }

    /// Undoes an attempt whose code was right, or that failed through no fault of the client.
    #[expect(clippy::needless_pass_by_value, reason = "consumed so that it is given back once")]
    pub(crate) fn give_back(&mut self, attempt: Attempt) {
        let Attempt { address } = attempt;
        match address {
            Some(address) => {
                if let Some(allowance) = self.by_address.get_mut(&address) {
                    allowance.give_back(PER_ADDRESS);
                }
            }
            None => self.strangers.give_back(PER_ADDRESS),
        }
        self.overall.give_back(OVERALL);
    }

    /// The address if there is room to remember it.
    fn remember(&mut self, address: IpAddr, now: Instant) -> Option<IpAddr> {
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, allowance| !allowance.is_full(now));
        }
        let known = self.by_address.len() < MAX_ADDRESSES || self.by_address.contains_key(&address);
        known.then_some(address)
    }
}

/// What one client can choose freely counts as one address: a /64 in IPv6.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn tries(limit: &mut WrongCodeLimit, address: IpAddr, now: Instant) -> u32 {
        let mut count = 0;
        while limit.take(address, now).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn one_address_gets_a_burst_then_one_per_interval_and_does_not_shut_others_out() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::new(start);
        assert_eq!(tries(&mut limit, A, start), PER_ADDRESS.burst);
        assert_eq!(limit.take(A, start).unwrap_err(), PER_ADDRESS.interval);
        assert_eq!(tries(&mut limit, B, start), PER_ADDRESS.burst);
        assert_eq!(tries(&mut limit, A, start + PER_ADDRESS.interval), 1);
        assert_eq!(tries(&mut limit, A, start + PER_ADDRESS.interval * 100), PER_ADDRESS.burst);
    }

    #[test]
    fn a_right_code_costs_nothing() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::new(start);
        for _ in 0..1000 {
            let attempt = limit.take(A, start).unwrap();
            limit.give_back(attempt);
        }
        assert_eq!(tries(&mut limit, A, start), PER_ADDRESS.burst);
    }

    #[test]
    fn all_addresses_together_are_limited() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::new(start);
        let allowed =
            (0..10_000_u32).filter(|&n| limit.take(Ipv4Addr::from(n).into(), start).is_ok()).count();
        assert_eq!(u32::try_from(allowed).unwrap(), OVERALL.burst);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_mapped_ipv4_as_ipv4() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::new(start);
        let allowed = (0..100_u16)
            .filter(|&n| limit.take(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into(), start).is_ok())
            .count();
        assert_eq!(u32::try_from(allowed).unwrap(), PER_ADDRESS.burst);
        assert_eq!(tries(&mut limit, A, start), PER_ADDRESS.burst);
        assert!(limit.take(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(), start).is_err());
    }

    #[test]
    fn memory_is_bounded_and_forgotten_addresses_still_count() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::new(start);
        let mut now = start;
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() * 3 {
            // Slow enough for the overall limit, fast enough that one address is not full again.
            now += OVERALL.interval;
            let _ = tries(&mut limit, Ipv4Addr::from(number).into(), now);
            assert!(limit.by_address.len() <= MAX_ADDRESSES);
        }
    }
}
