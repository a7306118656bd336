//! How often wrong pairing codes are answered with no more than "wrong".
//!
//! Only failures count, by the network that they come from; a right code is never looked at here, so no number of
//! wrong ones keeps the rightful administrator out. What bounds guessing is the secret's 60 bits: at ten thousand
//! handshakes a second, a guess comes true once in three million years.
//!
//! Time comes in as an argument: nothing here reads a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// One network: five failures, then one every six seconds.
const PER_NETWORK: Rate = Rate { burst: 5, interval: Duration::from_secs(6) };
/// Networks remembered; beyond it those not known share an allowance. About 200 KiB.
const MAX_NETWORKS: usize = 4096;

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

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// The failures of each network.
#[derive(Debug, Default)]
pub(crate) struct WrongCodeLimit {
    by_network: HashMap<IpAddr, Allowance>,
    strangers: Option<Allowance>,
}

impl WrongCodeLimit {
    /// Counts a failure; says how long the network is to wait if it had too many.
    pub(crate) fn count(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        let full = Allowance { full_at: now };
        let network = network(address);
        if self.by_network.len() >= MAX_NETWORKS && !self.by_network.contains_key(&network) {
            self.by_network.retain(|_, allowance| !allowance.is_full(now));
        }
        let known = self.by_network.len() < MAX_NETWORKS || self.by_network.contains_key(&network);
        let allowance = if known {
            self.by_network.entry(network).or_insert(full)
        } else {
            self.strangers.get_or_insert(full)
        };
        let wait = allowance.wait(PER_NETWORK, now);
        if wait.is_zero() {
            allowance.take(PER_NETWORK, now);
            return None;
        }
        Some(wait)
    }
}

/// What one host can choose its addresses from: a /24 in IPv4, a /64 in IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

    /// Failures in a row until one is told to wait.
    fn failures(limit: &mut WrongCodeLimit, address: IpAddr, now: Instant) -> u32 {
        let mut count = 0;
        while limit.count(address, now).is_none() {
            count += 1;
        }
        count
    }

    #[test]
    fn one_network_gets_a_burst_then_one_per_interval_and_does_not_slow_others() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::default();
        assert_eq!(failures(&mut limit, A, start), PER_NETWORK.burst);
        assert_eq!(limit.count(A, start), Some(PER_NETWORK.interval));
        assert_eq!(failures(&mut limit, B, start), PER_NETWORK.burst);
        assert_eq!(failures(&mut limit, A, start + PER_NETWORK.interval), 1);
        assert_eq!(failures(&mut limit, A, start + PER_NETWORK.interval * 100), PER_NETWORK.burst);
    }

    #[test]
    fn sixty_addresses_of_one_host_count_as_one_network() {
        let start = Instant::now();
        for address in [
            |n: u8| IpAddr::from([192, 0, 2, n]),
            |n: u8| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
            |n: u8| Ipv4Addr::new(192, 0, 2, n).to_ipv6_mapped().into(),
        ] {
            let mut limit = WrongCodeLimit::default();
            let counted = (0..60).filter(|&n| limit.count(address(n), start).is_none()).count();
            assert_eq!(u32::try_from(counted).unwrap(), PER_NETWORK.burst);
        }
    }

    #[test]
    fn memory_is_bounded_and_forgotten_networks_still_count() {
        let start = Instant::now();
        let mut limit = WrongCodeLimit::default();
        for number in 0..u32::try_from(MAX_NETWORKS).unwrap() * 3 {
            let _ = failures(&mut limit, Ipv4Addr::from(number << 8).into(), start);
            assert!(limit.by_network.len() <= MAX_NETWORKS);
        }
        assert!(limit.count(Ipv4Addr::from(u32::MAX).into(), start).is_some());
    }
}
