//! Which addresses of a node are those of its machine.
//!
//! Never the address of the control plane: a node that has it now gives it away with its role, and a provider that takes
//! it for the node's own removes the wrong etcd member. Never one of SideroLink, which nobody but the plane can reach.

use std::net::{IpAddr, Ipv6Addr};

use crate::contract::MachineAddress;
use crate::server_binding::ServerBinding;

/// Longest address that the contract takes, in octets.
const LONGEST: usize = 256;
/// Bits of the network of a SideroLink address.
const SIDEROLINK_BITS: u32 = 64;

/// The addresses that the node of a binding announced: each once, in its order, the host name last. `endpoint` is the
/// host of the control plane's endpoint, a name or an address.
pub fn machine_addresses(binding: &ServerBinding, endpoint: Option<&str>) -> Vec<MachineAddress> {
    let endpoint = endpoint.and_then(address);
    let link = binding.spec.siderolink.as_ref().and_then(|link| address(&link.address));
    let mut seen: Vec<IpAddr> = Vec::new();
    for announced in &binding.spec.addresses {
        let Some(found) = address(announced) else { continue };
        let is_own = Some(found) != endpoint && !link.is_some_and(|link| same_link(found, link));
        if is_own && is_reachable(found) && !seen.contains(&found) {
            seen.push(found);
        }
    }
    let internal = seen.into_iter().map(|address| (MachineAddress::INTERNAL_IP, address.to_string()));
    let hostname = &binding.spec.hostname;
    let name = (!hostname.is_empty() && hostname.len() <= LONGEST)
        .then(|| (MachineAddress::HOSTNAME, hostname.clone()));
    let typed = |(type_, address): (&str, String)| MachineAddress { type_: type_.to_owned(), address };
    internal.chain(name).map(typed).collect()
}

/// An address as nodes, users and SideroLink write it: perhaps in brackets, perhaps with a prefix length.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.split('/').next()?.trim_start_matches('[').trim_end_matches(']');
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn same_link(address: IpAddr, link: IpAddr) -> bool {
    match (address, link) {
        (IpAddr::V6(address), IpAddr::V6(link)) => network(address) == network(link),
        (address, link) => address == link,
    }
}

fn network(address: Ipv6Addr) -> u128 {
    address.to_bits() >> SIDEROLINK_BITS
}

/// Addresses that mean another machine on another link, or none.
fn is_reachable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_link_local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server_binding::{ServerBindingSpec, SideroLink};

    fn binding(addresses: &[&str], hostname: &str, link: Option<&str>) -> ServerBinding {
        let spec = ServerBindingSpec {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            hostname: hostname.to_owned(),
            siderolink: link
                .map(|address| SideroLink { address: address.to_owned(), public_key: "k".to_owned() }),
            ..ServerBindingSpec::default()
        };
        ServerBinding::new("a", spec)
    }

    #[test]
    fn the_control_planes_the_links_and_useless_addresses_are_left_out() {
        let all = [
            "10.0.0.7",
            "10.0.0.1",
            "fd00::7",
            "fdae:2859:5bb1:7a03::12",
            "fdae:2859:5bb1:7a03::99",
            "fe80::1",
            "169.254.0.5",
            "127.0.0.1",
            "::",
            "nonsense",
            "10.0.0.7",
            "::ffff:10.0.0.7",
            "10.0.0.8/24",
        ];
        let binding = binding(&all, "node-1", Some("fdae:2859:5bb1:7a03::12/64"));
        let texts = |endpoint| {
            let found = machine_addresses(&binding, endpoint);
            found.into_iter().map(|found| format!("{} {}", found.type_, found.address)).collect::<Vec<_>>()
        };
        let own = ["InternalIP 10.0.0.7", "InternalIP fd00::7", "InternalIP 10.0.0.8", "Hostname node-1"];
        for endpoint in ["10.0.0.1", "::ffff:10.0.0.1", "[::ffff:10.0.0.1]"] {
            assert_eq!(texts(Some(endpoint)), own, "{endpoint}");
        }
        assert_eq!(texts(Some("api.example")).len(), own.len() + 1, "a name excludes nothing");
        assert_eq!(texts(None).len(), own.len() + 1);
    }

    proptest! {
        #[test]
        fn neither_endpoint_nor_link_is_ever_told(hosts in proptest::collection::vec(any::<u8>(), 0..20),
            endpoint in any::<u8>(), link in any::<u8>()) {
            let mixed: Vec<String> = hosts.iter().flat_map(|host| [format!("10.0.0.{host}"),
                format!("fd00:0:0:3::{host:x}"), format!("fd00:0:0:4::{host:x}")]).collect();
            let mixed: Vec<&str> = mixed.iter().map(String::as_str).collect();
            let binding = binding(&mixed, "", Some(&format!("fd00:0:0:3::{link:x}/64")));
            let found = machine_addresses(&binding, Some(&format!("10.0.0.{endpoint}")));
            for address in &found {
                prop_assert_ne!(&address.address, &format!("10.0.0.{endpoint}"));
                prop_assert!(!address.address.starts_with("fd00:0:0:3:"), "{:?}", address);
            }
            let distinct: std::collections::BTreeSet<_> = found.iter().map(|found| &found.address).collect();
            prop_assert_eq!(distinct.len(), found.len());
        }

        #[test]
        fn no_text_crashes_it(addresses in proptest::collection::vec(".{0,40}", 0..4), endpoint in ".{0,40}", link in ".{0,40}") {
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            machine_addresses(&binding(&addresses, &endpoint, Some(&link)), Some(&endpoint));
        }
    }
}
