//! Network cards and the addresses by which this machine is reached.
//!
//! It must never report an address that only means something on this machine or this cable.

use std::net::IpAddr;

use bloomery_agent_api::{NetworkInformation, NetworkInterface};
use bloomery_hostnet::Link;
use bloomery_hostnet::link::{
    FLAG_BROADCAST, FLAG_LOOPBACK, FLAG_MULTICAST, FLAG_POINT_TO_POINT, FLAG_RUNNING, FLAG_UP,
};

/// Names of the flags that go over the wire, in the order of Go's `net.Flags`, which upstream's agent prints.
const FLAG_NAMES: [(u32, &str); 6] = [
    (FLAG_UP, "up"),
    (FLAG_BROADCAST, "broadcast"),
    (FLAG_LOOPBACK, "loopback"),
    (FLAG_POINT_TO_POINT, "pointtopoint"),
    (FLAG_MULTICAST, "multicast"),
    (FLAG_RUNNING, "running"),
];

/// The interfaces that have a hardware address.
pub fn information(links: &[Link]) -> NetworkInformation {
    let interfaces: Vec<NetworkInterface> = links.iter().filter_map(interface).collect();
    NetworkInformation { interface_count: u32::try_from(interfaces.len()).unwrap_or(u32::MAX), interfaces }
}

fn interface(link: &Link) -> Option<NetworkInterface> {
    Some(NetworkInterface {
        index: link.index,
        name: link.name.clone(),
        flags: flags(link.flags),
        mtu: link.mtu,
        mac: link.mac?.to_string(),
        addresses: link.addresses.iter().map(ToString::to_string).collect(),
    })
}

fn flags(bits: u32) -> String {
    let names: Vec<&str> =
        FLAG_NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    names.join("|")
}

/// Global unicast addresses of all interfaces, each once.
pub fn reachable_addresses(links: &[Link]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = (links.iter())
        .flat_map(|link| link.addresses.iter().map(ipnet_address))
        .filter(is_global_unicast)
        .collect();
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    addresses
}

fn ipnet_address(net: &bloomery_hostnet::link::IpNet) -> IpAddr {
    net.addr()
}

/// In the sense of RFC 4291 §2.4 and Go's `IsGlobalUnicast`: private ranges count.
fn is_global_unicast(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !link_local && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use bloomery_hostnet::{LinkKind, MacAddr};

    use super::*;

    fn link(mac: Option<MacAddr>, addresses: &[&str]) -> Link {
        Link {
            index: 2,
            name: "eth0".to_owned(),
            mac,
            kind: LinkKind::Ethernet,
            flags: 0x11043,
            carrier: true,
            carrier_ups: 1,
            mtu: 1500,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn reports_interfaces_with_a_hardware_address_in_upstreams_words() {
        let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
        let information = information(&[link(None, &["127.0.0.1/8"]), link(Some(mac), &["10.0.0.5/24"])]);
        assert_eq!(information.interface_count, 1);
        assert_eq!(
            information.interfaces,
            [NetworkInterface {
                index: 2,
                name: "eth0".to_owned(),
                flags: "up|broadcast|multicast|running".to_owned(),
                mtu: 1500,
                mac: "52:54:00:00:00:01".to_owned(),
                addresses: vec!["10.0.0.5/24".to_owned()],
            }]
        );
    }

    #[test]
    fn only_global_addresses_are_reachable_and_each_is_named_once() {
        let links = [
            link(None, &["127.0.0.1/8", "::1/128"]),
            link(None, &["10.0.0.5/24", "169.254.3.4/16", "fe80::1/64", "fd00::5/64", "2001:db8::1/64"]),
            link(None, &["10.0.0.5/32"]),
        ];
        let texts: Vec<String> = reachable_addresses(&links).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.5", "fd00::5", "2001:db8::1"]);
    }
}
