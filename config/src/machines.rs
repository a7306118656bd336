//! Machines that no person has spoken of yet: what becomes of them, and which are served at all.

use crate::decode::Decoder;
use crate::node::Node;
use crate::values;
use ipnet::IpNet;
use std::net::IpAddr;

/// Entries of one list: more is an inventory, which belongs into the ConfigMap.
const MAX_ENTRIES: usize = 1024;

/// `unknownMachines`: what a machine without an accepted Server boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownMachines {
    /// `agent`: the agent registers it; once its disks are known not to be blank, it boots them.
    #[default]
    Agent,
    /// `boot-disk`: it is sent on to its disk and not registered.
    BootDisk,
    /// `ignore`: it gets no answer.
    Ignore,
}

impl UnknownMachines {
    /// Its spelling in the file and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::BootDisk => "boot-disk",
            Self::Ignore => "ignore",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        [Self::Agent, Self::BootDisk, Self::Ignore]
            .into_iter()
            .find(|value| value.as_str() == text)
            .ok_or_else(|| "agent, boot-disk or ignore".to_owned())
    }
}

/// `machines`: which machines the boot services serve. `deny` wins; an empty `allow` allows all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machines {
    /// `allow`, each entry in its normal form.
    pub allow: Vec<String>,
    /// `deny`, each entry in its normal form.
    pub deny: Vec<String>,
}

pub(crate) fn decode(node: &Node, decoder: &mut Decoder) -> Machines {
    let Some(fields) = decoder.mapping(node, "`machines`", &["allow", "deny"]) else {
        return Machines::default();
    };
    let mut list = |key: &str, what: &str| {
        let entries = decoder.list(fields.get(key), what, machine);
        if entries.len() > MAX_ENTRIES
            && let Some(node) = fields.get(key)
        {
            decoder.note(
                node.at,
                format!("{what} has {} entries; at most {MAX_ENTRIES} are allowed here", entries.len()),
            );
        }
        entries
    };
    Machines { allow: list("allow", "`machines.allow`"), deny: list("deny", "`machines.deny`") }
}

/// One entry in its normal form: a card, the first half of one (its maker), a network, a relay or an interface.
fn machine(text: &str) -> Result<String, String> {
    const ALLOWED: &str = "a MAC address (52:54:00:12:34:56), a maker's prefix (52:54:00), a network (10.20.0.0/16), \
                           relay=10.20.0.1 or interface=eth1";
    let refused = || ALLOWED.to_owned();
    if let Some(relay) = text.strip_prefix("relay=") {
        return relay.parse::<IpAddr>().map(|relay| format!("relay={relay}")).map_err(|_| refused());
    }
    if let Some(name) = text.strip_prefix("interface=") {
        return values::listed_interface(name).map(|name| format!("interface={name}")).map_err(|_| refused());
    }
    if text.contains('/') {
        return text.parse::<IpNet>().map(|network| network.trunc().to_string()).map_err(|_| refused());
    }
    let octets: Vec<String> = text.split([':', '-']).map(|octet| octet.to_ascii_lowercase()).collect();
    let is_octet = |octet: &String| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_card = matches!(octets.len(), 3 | 6) && octets.iter().all(is_octet);
    if is_card { Ok(octets.join(":")) } else { Err(refused()) }
}
