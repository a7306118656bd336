//! Netlink messages read into our types.
//!
//! It must never fail: what a message does not say becomes empty.

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};

use super::{FLAG_LOWER_UP, Link, LinkKind};
use crate::MacAddr;

/// A link without its addresses (those come in messages of their own).
pub(super) fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags.bits();
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        kind: match message.header.link_layer_type {
            LinkLayerType::Loopback => LinkKind::Loopback,
            LinkLayerType::Ether => LinkKind::Ethernet,
            _ => LinkKind::Other,
        },
        flags,
        carrier: flags & FLAG_LOWER_UP != 0,
        carrier_ups: 0,
        mtu: 0,
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::CarrierUpCount(count) => link.carrier_ups = *count,
            LinkAttribute::Address(octets) => {
                link.mac = MacAddr::from_slice(octets).filter(|mac| mac.octets() != [0; 6]);
            }
            LinkAttribute::LinkInfo(infos) => {
                if let Some(kind) = infos.iter().find_map(kind) {
                    link.kind = LinkKind::Virtual(kind);
                }
            }
            _ => {}
        }
    }
    link
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// The address of the link's own end. On point-to-point links `IFA_ADDRESS` is the peer's.
pub(super) fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) if own.is_none() => own = Some(*address),
            _ => {}
        }
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}
