//! Machines that nobody accepted: which of them are served, and what they boot.
//!
//! Plugging the plane in must not take a network down: a machine that boots from the network first and has a system of
//! its own gets back to its disk without a person.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

pub use bloomery_config::UnknownMachines;

use crate::contents::ContentsClass;
use crate::placeholder;

/// What a machine that is not accepted gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// The agent.
    Agent,
    /// Its disk.
    Disk,
    /// Nothing.
    Nothing,
}

/// Decides for a machine that is not accepted. `registered` is what its disks held when it registered, if it did;
/// `any` the option `autoAcceptNonEmpty`, with which contents make no difference; `admitted` what the lists say.
pub fn unknown(
    policy: UnknownMachines,
    registered: Option<ContentsClass>,
    any: bool,
    admitted: bool,
) -> Strangers {
    match policy {
        _ if !admitted => Strangers::Nothing,
        UnknownMachines::Agent => match registered {
            Some(ContentsClass::Data | ContentsClass::Unknown | ContentsClass::System) if !any => {
                Strangers::Disk
            }
            Some(_) | None => Strangers::Agent,
        },
        UnknownMachines::BootDisk => Strangers::Disk,
        UnknownMachines::Ignore => Strangers::Nothing,
    }
}

/// One entry of the lists `machines.allow` and `machines.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineFilter {
    /// One card.
    Mac(String),
    /// All cards of a vendor: the first three octets, as `52:54:00`.
    Oui(String),
    /// All clients of a network.
    Subnet {
        /// Its address.
        network: IpAddr,
        /// Bits of its prefix.
        prefix: u8,
    },
    /// All clients behind a DHCP relay (giaddr).
    Relay(Ipv4Addr),
    /// All clients of an interface of the appliance.
    Interface(String),
}

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to read machine filter {text:?}: {problem}; write mac:52:54:00:12:34:56, oui:52:54:00, \
     subnet:192.168.7.0/24, relay:192.168.8.1 or interface:eth1"
)]
pub struct FilterError {
    /// The entry.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl FromStr for MachineFilter {
    type Err = FilterError;

    /// `kind:value`; without a kind, a hardware address, the first half of one, or a network.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let failed = |problem| FilterError { text: text.to_owned(), problem };
        let text = text.trim();
        let mac = |value: &str| {
            placeholder::card(value).map(Self::Mac).ok_or_else(|| failed("the hardware address is malformed"))
        };
        match text.split_once(':') {
            Some(("mac", value)) => mac(value),
            Some(("oui", value)) => oui(value).ok_or_else(|| failed("the vendor's part is malformed")),
            Some(("subnet", value)) => subnet(value).ok_or_else(|| failed("the network is malformed")),
            Some(("relay", value)) => {
                value.parse().map(Self::Relay).map_err(|_| failed("the relay's address is malformed"))
            }
            Some(("interface", value)) if is_interface(value) => Ok(Self::Interface(value.to_owned())),
            Some(("interface", _)) => Err(failed("the interface's name is malformed")),
            _ if text.contains('/') => subnet(text).ok_or_else(|| failed("the network is malformed")),
            _ => oui(text).map_or_else(|| mac(text), Ok),
        }
    }
}

impl fmt::Display for MachineFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(formatter, "mac:{mac}"),
            Self::Oui(oui) => write!(formatter, "oui:{oui}"),
            Self::Subnet { network, prefix } => write!(formatter, "subnet:{network}/{prefix}"),
            Self::Relay(relay) => write!(formatter, "relay:{relay}"),
            Self::Interface(name) => write!(formatter, "interface:{name}"),
        }
    }
}

fn is_interface(name: &str) -> bool {
    /// `IFNAMSIZ` without its end.
    const LONGEST: usize = 15;
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/')
}

fn oui(text: &str) -> Option<MachineFilter> {
    let oui = text.trim().to_ascii_lowercase().replace('-', ":");
    let is_one = oui.len() == 8
        && oui.bytes().enumerate().all(|(index, octet)| match index {
            2 | 5 => octet == b':',
            _ => octet.is_ascii_hexdigit(),
        });
    is_one.then_some(MachineFilter::Oui(oui))
}

fn subnet(text: &str) -> Option<MachineFilter> {
    let (network, prefix) = text.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let most = if network.is_ipv4() { 32 } else { 128 };
    (prefix <= most).then_some(MachineFilter::Subnet { network, prefix })
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Hardware address that the machine names or shows, in colon form.
    pub mac: Option<&'a str>,
    /// Address of the client.
    pub address: Option<IpAddr>,
    /// Relay that the request came through.
    pub relay: Option<Ipv4Addr>,
    /// Interface of the appliance.
    pub interface: Option<&'a str>,
}

impl MachineFilter {
    /// True when the entry is about a request from there. What a request does not tell matches nothing.
    pub fn matches(&self, origin: &Origin<'_>) -> bool {
        let mac = origin.mac.map(str::to_ascii_lowercase);
        match self {
            Self::Mac(own) => mac.as_ref() == Some(own),
            Self::Oui(own) => mac.is_some_and(|mac| mac.starts_with(own.as_str())),
            Self::Subnet { network, prefix } => {
                origin.address.is_some_and(|address| is_within(address, *network, *prefix))
            }
            Self::Relay(own) => origin.relay == Some(*own),
            Self::Interface(own) => origin.interface == Some(own.as_str()),
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let ((address, is_v4), (network, is_v4_too)) =
        (bits(address.to_canonical()), bits(network.to_canonical()));
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    is_v4 == is_v4_too && address & mask == network & mask
}

/// Both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineLists {
    /// If there are any, only these machines are served while they are not accepted.
    pub allow: Vec<MachineFilter>,
    /// These never are.
    pub deny: Vec<MachineFilter>,
}

impl MachineLists {
    /// Reads lists of entries separated by commas or white space.
    pub fn parse(allow: &str, deny: &str) -> Result<Self, FilterError> {
        let list = |text: &str| {
            text.split(|letter: char| letter == ',' || letter.is_whitespace())
                .filter(|entry| !entry.is_empty())
                .map(str::parse)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { allow: list(allow)?, deny: list(deny)? })
    }

    /// Both of each.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.allow.extend(other.allow);
        self.deny.extend(other.deny);
        self
    }

    /// True when a machine that is not accepted may be served. Denied wins.
    pub fn admit(&self, origin: &Origin<'_>) -> bool {
        let any = |list: &[MachineFilter]| list.iter().any(|filter| filter.matches(origin));
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_a_system_of_its_own_gets_back_to_its_disk() {
        use ContentsClass::{Blank, Data, System, Unknown};
        use UnknownMachines::{Agent, BootDisk, Ignore};
        for (policy, registered, any, admitted, expected) in [
            (Agent, None, false, true, Strangers::Agent),
            (Agent, Some(Blank), false, true, Strangers::Agent),
            (Agent, Some(Data), false, true, Strangers::Disk),
            (Agent, Some(Unknown), false, true, Strangers::Disk),
            (Agent, Some(System), false, true, Strangers::Disk),
            (Agent, Some(Data), true, true, Strangers::Agent),
            (BootDisk, None, false, true, Strangers::Disk),
            (BootDisk, Some(Blank), true, true, Strangers::Disk),
            (Ignore, None, false, true, Strangers::Nothing),
            (Agent, None, false, false, Strangers::Nothing),
            (BootDisk, None, false, false, Strangers::Nothing),
        ] {
            assert_eq!(unknown(policy, registered, any, admitted), expected, "{policy} {registered:?} {any}");
        }
    }

    #[test]
    fn filters_are_read_and_shown() {
        for (text, shown) in [
            ("mac:52:54:00:AA:bb:cc", "mac:52:54:00:aa:bb:cc"),
            ("52-54-00-aa-bb-cc", "mac:52:54:00:aa:bb:cc"),
            ("oui:52:54:00", "oui:52:54:00"),
            ("52:54:00", "oui:52:54:00"),
            ("subnet:192.168.7.0/24", "subnet:192.168.7.0/24"),
            ("fd00::/8", "subnet:fd00::/8"),
            ("relay:192.168.8.1", "relay:192.168.8.1"),
            ("interface:eth1", "interface:eth1"),
        ] {
            assert_eq!(text.parse::<MachineFilter>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "eth1",
            "mac:",
            "mac:52:54:00",
            "oui:52",
            "subnet:1.2.3.4",
            "10.0.0.0/33",
            "relay:fd00::1",
            "interface:",
            "interface:a-name-that-is-too-long",
            "vendor:x",
        ] {
            let error = text.parse::<MachineFilter>().unwrap_err();
            assert!(error.to_string().contains("write mac:"), "{text}: {error}");
        }
        assert_eq!(MachineLists::parse("52:54:00, interface:eth1\n10.0.0.0/8", "").unwrap().allow.len(), 3);
        assert!("Agent".parse::<UnknownMachines>().unwrap_err().contains("boot-disk"));
        assert_eq!("boot-disk".parse(), Ok(UnknownMachines::BootDisk));
    }

    #[test]
    fn denied_wins_and_what_is_not_told_matches_nothing() {
        let lists = MachineLists::parse(
            "10.0.0.0/8 oui:52:54:00 relay:10.9.9.9 interface:eth1",
            "mac:52:54:00:00:00:01",
        );
        let lists = lists.unwrap();
        let from = |mac, address: Option<&str>| Origin {
            mac,
            address: address.map(|address| address.parse().unwrap()),
            ..Origin::default()
        };
        for (origin, admitted) in [
            (from(Some("52:54:00:00:00:02"), None), true),
            (from(Some("52:54:00:00:00:01"), Some("10.1.1.1")), false),
            (from(Some("aa:54:00:00:00:02"), Some("10.1.1.1")), true),
            (from(Some("aa:54:00:00:00:02"), Some("::ffff:10.1.1.1")), true),
            (from(Some("aa:54:00:00:00:02"), Some("11.1.1.1")), false),
            (from(Some("aa:54:00:00:00:02"), Some("a00::1")), false),
            (from(None, None), false),
            (Origin { relay: Some(Ipv4Addr::new(10, 9, 9, 9)), ..Origin::default() }, true),
            (Origin { interface: Some("eth1"), ..Origin::default() }, true),
            (Origin { interface: Some("eth2"), ..Origin::default() }, false),
        ] {
            assert_eq!(lists.admit(&origin), admitted, "{origin:?}");
        }
        assert!(MachineLists::default().admit(&Origin::default()));
        let all = MachineLists::parse("0.0.0.0/0", "").unwrap();
        assert!(all.admit(&from(None, Some("1.2.3.4"))) && !all.admit(&from(None, Some("fd00::1"))));
    }
}
