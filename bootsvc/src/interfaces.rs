//! The interfaces that machines boot on, watched for change.
//!
//! It must never choose an interface made by software where there is a physical one, unless it is named.

use std::net::Ipv4Addr;
use std::time::Duration;

use bloomery_hostnet::link::{IpNet, Ipv4Net};
use bloomery_hostnet::{Link, LinkKind, Netlink};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often addresses are read again. A lease that moves is rare and costs a booting machine one
/// repeated DISCOVER at most, so reading twice a second or listening to netlink would gain nothing.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Software interfaces that join physical ones, and stand for them.
const BONDS: [&str; 2] = ["bond", "team"];
/// Software interfaces that stand for a card where there is none, as in a container.
const IN_PLACE_OF_CARDS: [&str; 7] = ["veth", "macvlan", "macvtap", "ipvlan", "ipvtap", "bridge", "tun"];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    pub name: String,
    /// The address that clients on it are given.
    pub address: Ipv4Addr,
    /// All its addresses, each with its network.
    pub networks: Vec<Ipv4Net>,
}

/// Which interfaces are for provisioning. With none named, the physical ones (and bonds of them); where there are none,
/// as in a container, what stands for a card there.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub provisioning: Vec<String>,
    pub management: Vec<String>,
}

impl Selection {
    /// Those of `links` that are up, for provisioning and have an IPv4 address, sorted by name.
    pub fn choose(&self, links: &[Link]) -> Vec<Interface> {
        // A card that is down, or a management one, still says that this is no container.
        let has_cards = links.iter().any(|link| is_physical(&link.kind));
        let is_named = |names: &[String], link: &Link| names.contains(&link.name);
        let wanted = |link: &&Link| {
            link.is_up()
                && !is_named(&self.management, link)
                && if self.provisioning.is_empty() {
                    is_physical(&link.kind) || !has_cards && is_in_place_of_a_card(&link.kind)
                } else {
                    is_named(&self.provisioning, link)
                }
        };
        let mut chosen: Vec<Interface> = links.iter().filter(wanted).filter_map(interface).collect();
        chosen.sort();
        chosen
    }
}

fn is_physical(kind: &LinkKind) -> bool {
    match kind {
        LinkKind::Ethernet => true,
        LinkKind::Virtual(kind) => BONDS.contains(&kind.as_str()),
        LinkKind::Loopback | LinkKind::Other => false,
    }
}

fn is_in_place_of_a_card(kind: &LinkKind) -> bool {
    matches!(kind, LinkKind::Virtual(kind) if IN_PLACE_OF_CARDS.contains(&kind.as_str()))
}

/// A link as it is served; of several addresses the first that is not link-local is given to clients.
fn interface(link: &Link) -> Option<Interface> {
    let networks: Vec<Ipv4Net> = link
        .addresses
        .iter()
        .filter_map(|network| match network {
            IpNet::V4(network) => Some(*network),
            IpNet::V6(_) => None,
        })
        .collect();
    let routable = networks.iter().find(|network| !network.addr().is_link_local());
    let address = routable.or(networks.first())?.addr();
    Some(Interface { name: link.name.clone(), address, networks })
}

/// Watches the interfaces until `shutdown`.
pub fn watch(selection: Selection, shutdown: CancellationToken) -> watch::Receiver<Vec<Interface>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(POLL_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut netlink = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sender.closed() => return,
                _ = tick.tick() => {}
            }
            match links(&mut netlink).await {
                Ok(links) => {
                    let current = selection.choose(&links);
                    sender.send_if_modified(|known| {
                        let changed = *known != current;
                        *known = current;
                        changed
                    });
                }
                Err(error) => {
                    netlink = None;
                    tracing::warn!(error = bloomery_base::chain(&error), "interfaces cannot be listed");
                }
            }
        }
    });
    receiver
}

async fn links(netlink: &mut Option<Netlink>) -> Result<Vec<Link>, bloomery_hostnet::link::Error> {
    let netlink = match netlink {
        Some(netlink) => netlink,
        None => netlink.insert(Netlink::connect()?),
    };
    netlink.links().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_hostnet::link::FLAG_UP;

    fn link(name: &str, kind: &str, addresses: &[&str]) -> Link {
        let kind = match kind {
            "loopback" => LinkKind::Loopback,
            "ethernet" => LinkKind::Ethernet,
            "other" => LinkKind::Other,
            kind => LinkKind::Virtual(kind.to_owned()),
        };
        Link {
            index: 1,
            name: name.to_owned(),
            mac: None,
            kind,
            flags: FLAG_UP,
            carrier: true,
            carrier_ups: 1,
            mtu: 1500,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn chosen(links: &[Link], provisioning: &[&str], management: &[&str]) -> Vec<String> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection { provisioning: names(provisioning), management: names(management) };
        selection.choose(links).into_iter().map(|interface| interface.name).collect()
    }

    fn host() -> Vec<Link> {
        vec![
            link("lo", "loopback", &["127.0.0.1/8"]),
            link("eth1", "ethernet", &["10.1.0.2/16", "fd00::2/64"]),
            link("eth0", "ethernet", &["192.0.2.2/24"]),
            link("eth2", "ethernet", &[]),
            link("bond0", "bond", &["10.2.0.2/24"]),
            link("docker0", "bridge", &["172.17.0.1/16"]),
            link("veth1a2b", "veth", &["169.254.3.1/16"]),
            link("wg0", "wireguard", &["10.9.0.1/24"]),
            link("eth0.7", "vlan", &["10.7.0.2/24"]),
            link("tun0", "other", &["10.8.0.2/24"]),
        ]
    }

    #[test]
    fn only_physical_interfaces_are_served_by_themselves() {
        assert_eq!(chosen(&host(), &[], &[]), ["bond0", "eth0", "eth1"]);
        assert_eq!(chosen(&host(), &[], &["eth0"]), ["bond0", "eth1"]);
    }

    #[test]
    fn named_interfaces_are_served_whatever_they_are_and_no_others() {
        assert_eq!(
            chosen(&host(), &["eth0.7", "docker0", "lo", "nosuch0"], &[]),
            ["docker0", "eth0.7", "lo"]
        );
        assert_eq!(chosen(&host(), &["eth0", "eth1"], &["eth1"]), ["eth0"], "management wins");
    }

    #[test]
    fn a_container_has_something_in_place_of_a_card() {
        let mut links = host();
        links.retain(|link| !is_physical(&link.kind));
        assert_eq!(chosen(&links, &[], &[]), ["docker0", "veth1a2b"]);
        // A card for management only is a card: nothing else is served for want of one.
        let mut down = link("eth0", "ethernet", &["192.0.2.2/24"]);
        down.flags = 0;
        links.push(down);
        assert_eq!(chosen(&links, &[], &["eth0"]), [""; 0]);
    }

    #[test]
    fn clients_are_given_an_address_that_is_routed() {
        let link = link("eth0", "ethernet", &["169.254.9.9/16", "fe80::1/64", "10.1.0.2/16", "10.3.0.2/16"]);
        let interface = interface(&link).unwrap();
        assert_eq!(interface.address, Ipv4Addr::new(10, 1, 0, 2));
        assert_eq!(interface.networks.len(), 3);
    }

    #[tokio::test]
    async fn this_host_is_listed() {
        let links = links(&mut None).await.unwrap();
        let selection = Selection { provisioning: vec!["lo".to_owned()], management: Vec::new() };
        let [lo] = selection.choose(&links).try_into().unwrap();
        assert_eq!((lo.name.as_str(), lo.address), ("lo", Ipv4Addr::LOCALHOST));
    }
}
