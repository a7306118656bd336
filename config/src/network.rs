//! The `network` section.

use crate::decode::Decoder;
use crate::node::Node;
use crate::values;
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// `network`: how the plane gets its address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// `interface`: the kernel's name of the interface to use; by default the first Ethernet one with a carrier.
    pub interface: Option<String>,
    /// `dhcp` (the default) or `static`.
    pub addressing: Addressing,
}

/// Where the address comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Addressing {
    /// From the site's DHCP server.
    #[default]
    Dhcp,
    /// As written here.
    Static(StaticAddress),
}

/// `network.static`: network boot is IPv4, so the plane's own address is too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticAddress {
    /// `address`: with prefix length.
    pub address: Ipv4Net,
    /// `gateway`: the default route; none means the local network only.
    pub gateway: Option<Ipv4Addr>,
    /// `nameservers`: in the order asked.
    pub nameservers: Vec<IpAddr>,
}

pub(crate) fn decode(node: &Node, decoder: &mut Decoder) -> Network {
    let mut network = Network::default();
    let Some(fields) = decoder.mapping(node, "`network`", &["interface", "dhcp", "static"]) else {
        return network;
    };
    network.interface = decoder.parsed(fields.get("interface"), values::interface);
    let dhcp = decoder.boolean(fields.get("dhcp"));
    match (fields.get("static"), dhcp) {
        (Some(node), Some(true)) => {
            decoder.note(node.at, "`static` beside `dhcp: true`; give one of the two");
        }
        (Some(node), _) => {
            if let Some(address) = static_address(node, decoder) {
                network.addressing = Addressing::Static(address);
            }
        }
        (None, Some(false)) => {
            if let Some(node) = fields.get("dhcp") {
                decoder.note(node.at, "`dhcp: false` without `static`; give `static` with an `address`");
            }
        }
        (None, _) => {}
    }
    network
}

fn static_address(node: &Node, decoder: &mut Decoder) -> Option<StaticAddress> {
    let fields = decoder.mapping(node, "`network.static`", &["address", "gateway", "nameservers"])?;
    let address = decoder.parsed(fields.get("address"), values::address);
    let gateway = decoder.parsed(fields.get("gateway"), values::ipv4);
    let nameservers = decoder.list(fields.get("nameservers"), "`network.static.nameservers`", values::ip);
    if fields.get("address").is_none() {
        decoder.note(node.at, "`network.static` without `address`; give one such as 192.168.1.10/24");
    }
    let address = address?;
    if let (Some(gateway), Some(node)) = (gateway, fields.get("gateway"))
        && (!address.contains(&gateway) || gateway == address.addr())
    {
        decoder.note(
            node.at,
            format!(
                "gateway {gateway} cannot be reached from {address}; allowed: another address of {}",
                address.trunc()
            ),
        );
    }
    Some(StaticAddress { address, gateway, nameservers })
}
