//! Machines that no person has spoken of yet: what becomes of them, and which are served at all.

use crate::decode::Decoder;
use crate::node::Node;
use crate::values;
use crate::words::words;
use ipnet::IpNet;
use std::net::Ipv4Addr;

/// Entries of one list: more is an inventory, which belongs into the `ConfigMap`.
const MAX_ENTRIES: usize = 1024;

/// Octets of a hardware address, and of the part that its maker has.
const CARD: usize = 6;
const MAKER: usize = 3;

words! {
    /// `unknownMachines`: what a machine without an accepted Server boots.
    pub enum UnknownMachines {
        /// The agent registers it; once its disks are known not to be blank, it boots them.
        #[default]
        Agent = "agent",
        /// It is sent on to its disk and not registered.
        BootDisk = "boot-disk",
        /// It gets no answer.
        Ignore = "ignore",
    }
    "agent, boot-disk or ignore"
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

/// One entry in its normal form, `kind:value`. Without a kind it is a card, the first half of one, or a network.
fn machine(text: &str) -> Result<String, String> {
    let normal = match text.split_once(':') {
        Some(("mac", value)) => card(value, CARD).map(|card| format!("mac:{card}")),
        Some(("oui", value)) => card(value, MAKER).map(|maker| format!("oui:{maker}")),
        Some(("subnet", value)) => network(value),
        Some(("relay", value)) => value.parse::<Ipv4Addr>().ok().map(|relay| format!("relay:{relay}")),
        // A comma would end the entry on a command line.
        Some(("interface", value)) => {
            values::listed_interface(value).ok().map(|name| format!("interface:{name}"))
        }
        _ => card(text, CARD)
            .map(|card| format!("mac:{card}"))
            .or_else(|| card(text, MAKER).map(|maker| format!("oui:{maker}")))
            .or_else(|| network(text)),
    };
    normal.ok_or_else(|| {
        "mac:52:54:00:12:34:56, oui:52:54:00, subnet:10.20.0.0/16, relay:10.20.0.1 or interface:eth1"
            .to_owned()
    })
}

/// So many octets of a hardware address, in lower case with colons.
fn card(text: &str, octets: usize) -> Option<String> {
    let found: Vec<&str> = text.split([':', '-']).collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    (found.len() == octets && found.iter().all(is_octet)).then(|| found.join(":").to_ascii_lowercase())
}

fn network(text: &str) -> Option<String> {
    text.parse::<IpNet>().ok().map(|network| format!("subnet:{}", network.trunc()))
}
