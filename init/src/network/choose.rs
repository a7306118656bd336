//! Which interface is the plane's. Pure.

use bloomery_hostnet::{Link, LinkKind};

/// The configured interface, or the first Ethernet one, those with a carrier first.
pub(super) fn interface<'a>(links: &'a [Link], configured: Option<&str>) -> Option<&'a Link> {
    if let Some(name) = configured {
        return links.iter().find(|link| link.name == name);
    }
    let usable = |link: &&Link| link.mac.is_some() && is_wire(&link.kind);
    links.iter().filter(usable).min_by_key(|link| (!link.carrier, link.index))
}

/// A card, or what containers have in its place.
fn is_wire(kind: &LinkKind) -> bool {
    match kind {
        LinkKind::Ethernet => true,
        LinkKind::Virtual(kind) => matches!(kind.as_str(), "veth" | "macvlan" | "macvtap"),
        LinkKind::Loopback | LinkKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: LinkKind, carrier: bool) -> Link {
        let mac = (kind != LinkKind::Loopback).then(|| "02:00:00:00:00:01".parse().unwrap());
        Link {
            index,
            name: name.into(),
            mac,
            kind,
            flags: 0,
            carrier,
            carrier_ups: 1,
            mtu: 1500,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn takes_the_first_wire_with_a_carrier() {
        let mut links = vec![
            link(1, "lo", LinkKind::Loopback, true),
            link(2, "eth0", LinkKind::Ethernet, false),
            link(3, "eth1", LinkKind::Ethernet, true),
            link(4, "br0", LinkKind::Virtual("bridge".into()), true),
        ];
        let name = |links: &[Link], configured| interface(links, configured).map(|link| link.name.clone());
        assert_eq!(name(&links, None).as_deref(), Some("eth1"));
        links[2].carrier = false;
        assert_eq!(name(&links, None).as_deref(), Some("eth0"));
        assert_eq!(name(&links, Some("br0")).as_deref(), Some("br0"));
        assert_eq!(name(&links, Some("eth9")), None);
        assert_eq!(name(&links[..1], None), None);
    }
}
