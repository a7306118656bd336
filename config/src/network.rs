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
    /// `interfaces`: what each named interface is for; empty means the rule of [`Role`].
    pub interfaces: Vec<InterfaceRole>,
}

/// What an interface is for. Without a role, every physical interface is for provisioning; as soon as one interface
/// is named `provisioning`, only those so named are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `management`: people and controllers; the boot services never answer there.
    Management,
    /// `provisioning`: machines boot there; the boot services answer.
    Provisioning,
}

impl Role {
    /// Its spelling in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Provisioning => "provisioning",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Management, Self::Provisioning]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "management or provisioning".to_owned())
    }
}

/// An entry of `network.interfaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceRole {
    /// `name`: the kernel's name.
    pub name: String,
    /// `role`
    pub role: Role,
}

impl Network {
    /// Names of the interfaces with this role, in the order of the file.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &str> {
        self.interfaces.iter().filter(move |entry| entry.role == role).map(|entry| entry.name.as_str())
    }
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
    let Some(fields) = decoder.mapping(node, "`network`", &["interface", "dhcp", "static", "interfaces"])
    else {
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
    network.interfaces = interfaces(fields.get("interfaces"), decoder);
    network
}

fn interfaces(node: Option<&Node>, decoder: &mut Decoder) -> Vec<InterfaceRole> {
    let mut known: Vec<InterfaceRole> = Vec::new();
    for item in decoder.items(node, "`network.interfaces`", "a list of mappings with `name` and `role`") {
        let Some(fields) = decoder.mapping(item, "an entry of `network.interfaces`", &["name", "role"])
        else {
            continue;
        };
        let name = decoder.parsed(fields.get("name"), values::listed_interface);
        let role = decoder.parsed(fields.get("role"), Role::parse);
        for key in ["name", "role"] {
            if fields.get(key).is_none() {
                decoder.note(
                    item.at,
                    format!("an entry of `network.interfaces` without `{key}`; give both `name` and `role`"),
                );
            }
        }
        let (Some(name), Some(role)) = (name, role) else { continue };
        if known.iter().any(|entry| entry.name == name) {
            decoder.note(
                item.at,
                format!("interface `{name}` is named twice in `network.interfaces`; give it once"),
            );
        } else {
            known.push(InterfaceRole { name, role });
        }
    }
    known
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
