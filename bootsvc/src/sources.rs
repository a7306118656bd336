//! Which addresses may ask for boot files, and at which of ours: the networks that DHCP serves, or was relayed from.
//!
//! It must never let a management interface answer, nor an address from which no machine boots.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_hostnet::link::Ipv4Net;
use parking_lot::RwLock;

use crate::interfaces::Interface;
use crate::recent::Recent;

/// A relay that was not heard of for this long has moved.
const RELAY_LASTS: Duration = Duration::from_hours(24);
/// Relays remembered; a site has one for each of its networks.
const MAX_RELAYS: usize = 1024;
/// Largest network that is taken to be behind a relay: nothing in a DHCP packet says how large it is.
const RELAYED_PREFIX: u8 = 16;
/// Networks that machines may be on when the site's DHCP server, not ours, tells them what to boot, so that no relay is
/// heard: the private ones (RFC 1918, RFC 6598).
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// The networks. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<RwLock<Known>>);

#[derive(Debug)]
struct Known {
    attached: Vec<Ipv4Net>,
    relays: Recent<Ipv4Addr>,
    hears_no_relays: bool,
}

impl Default for Known {
    fn default() -> Self {
        let relays = Recent::new(MAX_RELAYS, RELAY_LASTS);
        Self { attached: Vec::new(), relays, hears_no_relays: false }
    }
}

impl Sources {
    /// Sources of a plane whose proxy DHCP is off: it hears no relays.
    pub fn without_dhcp() -> Self {
        let known = Known { hears_no_relays: true, ..Known::default() };
        Self(Arc::new(RwLock::new(known)))
    }

    /// These interfaces are for provisioning.
    pub fn set_interfaces(&self, interfaces: &[Interface]) {
        let attached = interfaces.iter().flat_map(|interface| interface.networks.iter().copied()).collect();
        self.0.write().attached = attached;
    }

    /// A request of a booting machine came through this relay.
    pub fn relayed(&self, relay: Ipv4Addr) {
        self.relayed_at(relay, Instant::now());
    }

    /// Whether a machine may have this address.
    pub fn serves(&self, source: Ipv4Addr) -> bool {
        self.serves_at(source, Instant::now())
    }

    /// Whether this address of ours is on a provisioning interface, or this host's own.
    pub fn answers_at(&self, local: IpAddr) -> bool {
        match local.to_canonical() {
            IpAddr::V4(local) => {
                local.is_loopback() || self.0.read().attached.iter().any(|network| network.addr() == local)
            }
            // Machines boot over IPv4; agents may go on over IPv6, whose addresses no interface is chosen by.
            IpAddr::V6(_) => true,
        }
    }

    fn relayed_at(&self, relay: Ipv4Addr, now: Instant) {
        if !(relay.is_loopback() || relay.is_multicast() || relay.is_broadcast() || relay.is_unspecified()) {
            self.0.write().relays.note(relay, now);
        }
    }

    fn serves_at(&self, source: Ipv4Addr, now: Instant) -> bool {
        let known = self.0.read();
        source.is_loopback()
            || known.attached.iter().any(|network| network.contains(&source))
            || known.hears_no_relays && PRIVATE.iter().any(|(net, len)| within(*net, *len, source))
            || known.relays.any(now, |relay| within(*relay, RELAYED_PREFIX, source))
    }
}

/// Whether an address shares so many leading bits with another.
fn within(network: Ipv4Addr, prefix: u8, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    network.to_bits() & mask == address.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(networks: &[&str]) -> Sources {
        let sources = Sources::default();
        let networks: Vec<Ipv4Net> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let address = networks[0].addr();
        sources.set_interfaces(&[Interface { name: "eth1".to_owned(), address, networks }]);
        sources
    }

    #[test]
    fn serves_its_own_networks_and_those_behind_relays() {
        let (sources, now) = (sources(&["10.77.0.3/24", "192.0.2.3/28"]), Instant::now());
        let serves = |source: &str, now| sources.serves_at(source.parse().unwrap(), now);
        for (source, expected) in [
            ("10.77.0.50", true),
            ("192.0.2.14", true),
            ("192.0.2.16", false),
            ("10.77.1.50", false),
            ("198.51.100.7", false),
            ("127.0.0.1", true),
        ] {
            assert_eq!(serves(source, now), expected, "{source}");
        }
        sources.relayed_at(Ipv4Addr::new(10, 79, 0, 1), now);
        assert!(serves("10.79.3.9", now) && !serves("10.80.0.9", now));
        assert!(!serves("10.79.3.9", now + RELAY_LASTS), "a relay that is gone");
        sources.relayed_at(Ipv4Addr::BROADCAST, now);
        assert!(!serves("255.255.0.1", now));
    }

    #[test]
    fn without_dhcp_private_networks_may_be_routed_to_it() {
        let sources = Sources::without_dhcp();
        for (source, expected) in
            [("10.200.0.9", true), ("172.31.0.9", true), ("172.32.0.9", false), ("198.51.100.7", false)]
        {
            assert_eq!(sources.serves(source.parse().unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn answers_at_provisioning_addresses_only() {
        let sources = sources(&["10.77.0.3/24"]);
        let answers = |local: &str| sources.answers_at(local.parse().unwrap());
        assert!(answers("10.77.0.3") && answers("::ffff:10.77.0.3") && answers("127.0.0.1"));
        assert!(!answers("192.0.2.2") && !answers("10.77.0.4"));
    }

    #[test]
    fn a_flood_of_relays_is_bounded() {
        let (sources, now) = (sources(&["10.77.0.3/24"]), Instant::now());
        for number in 0..5000_u32 {
            sources.relayed_at(Ipv4Addr::from_bits(0x0a00_0000 + (number << 8) + 1), now);
        }
        assert!(sources.serves_at(Ipv4Addr::new(10, 3, 0, 9), now));
        assert!(!sources.serves_at(Ipv4Addr::new(10, 10, 0, 9), now), "not remembered");
    }
}
