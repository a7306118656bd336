//! Whose management controller it is: a BMC is asked for its machine's GUID before it is told anything.
//!
//! Pure. Never takes a placeholder for an answer, and never takes silence for a yes where several Servers name the BMC.

use std::fmt::{Debug, Display, Formatter};
use std::sync::Arc;

const LEN: usize = 16;

/// GUIDs that firmware, boards and simulators ship with. GUIDs of one octet repeated need no row.
const PLACEHOLDERS: [u128; 10] = [
    // AMI, not set at the factory.
    0x0300_0200_0400_0500_0006_0007_0008_0009,
    // Counted up, in several widths.
    0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f,
    0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
    0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
    0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
    0x1122_3344_5566_7788_9900_aabb_ccdd_eeff,
    0x1234_5678_1234_1234_1234_1234_5678_90ab,
    0x1234_5678_1234_5678_90ab_cdde_efaa_bbcc,
    // Dell, without a service tag.
    0x4c4c_4544_0000_2010_8020_80c0_4f20_2020,
    // The example of OpenIPMI's simulator.
    0xa123_4567_89ab_cdef_a123_4567_89ab_cdef,
];

/// A GUID, its octets in the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; LEN]);

impl Guid {
    /// A GUID of these octets.
    pub const fn new(octets: [u8; LEN]) -> Self {
        Self(octets)
    }

    /// Reads 32 hexadecimal digits, with or without hyphens, braces or `urn:uuid:`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("urn:uuid:");
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let is_one = digits.len() == 2 * LEN && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_one
            .then(|| u128::from_str_radix(&digits, 16).ok())
            .flatten()
            .map(|octets| Self(octets.to_be_bytes()))
    }

    /// The GUID with its first three fields the other way round: SMBIOS has them in little endian, RFC 4122 in big.
    #[must_use]
    pub const fn swapped(self) -> Self {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.0;
        let [d0, d1, d2, d3, d4, d5, d6, d7] = rest;
        Self([a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// The GUID back to front: IPMI 2.0, table 20-10, has the last octet first.
    #[must_use]
    pub fn reversed(self) -> Self {
        let mut octets = self.0;
        octets.reverse();
        Self(octets)
    }

    /// The GUIDs it may stand for: BMCs send the octets in each of these orders.
    pub fn orders(self) -> [Self; 3] {
        [self, self.swapped(), self.reversed()]
    }

    /// Both may name one machine.
    pub fn matches(self, other: Self) -> bool {
        self.orders().contains(&other)
    }

    /// A GUID that many machines have, which proves nothing.
    pub fn is_placeholder(self) -> bool {
        let [first, ..] = self.0;
        self.0.iter().all(|octet| *octet == first)
            || self.orders().iter().any(|order| PLACEHOLDERS.contains(&u128::from_be_bytes(order.0)))
    }
}

impl Display for Guid {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(formatter, "{hyphen}{octet:02x}")?;
        }
        Ok(())
    }
}

impl Debug for Guid {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, formatter)
    }
}

/// All machines that are known, to name the one a foreign GUID belongs to.
pub trait Machines: Debug + Send + Sync {
    /// The Server of the machine with this GUID, in any order of its octets.
    fn owner(&self, guid: Guid) -> Option<String>;
}

/// No machine is known.
impl Machines for () {
    fn owner(&self, _: Guid) -> Option<String> {
        None
    }
}

/// What a Server's BMC may say of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the Server, for messages.
    pub server: String,
    /// The UUIDs that the machine's firmware has shown; a Server without one takes no BMC that tells one.
    pub uuids: Vec<Guid>,
    /// GUIDs that a person declared to be this machine's.
    pub declared: Vec<Guid>,
    /// Other Servers name this BMC: one that does not say whose it is gets no command.
    pub must_prove: bool,
    /// The machine's agent made the account through the machine's own interface. A BMC that proves the password has
    /// proven whose it is, unless its GUID is another Server's: some BMCs have a GUID that is not the machine's.
    pub account_is_proof: bool,
    /// The other machines.
    pub machines: Arc<dyn Machines>,
}

impl Identity {
    /// The identity of the Server `server`, whose name is its machine's UUID.
    pub fn of(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            uuids: Guid::parse(server).into_iter().collect(),
            declared: Vec::new(),
            must_prove: false,
            account_is_proof: false,
            machines: Arc::new(()),
        }
    }

    /// True when `told` names this machine.
    pub fn is(&self, told: Guid) -> bool {
        let own = self.uuids.iter().filter(|own| !own.is_placeholder());
        own.chain(&self.declared).any(|known| told.matches(*known))
    }

    /// Whether a BMC that told this may be told something. `proven`: it proved that it knows the password.
    ///
    /// # Errors
    /// It is another machine's, or nobody can tell and somebody has to.
    pub fn judge(&self, told: Option<Guid>, proven: bool) -> Result<(), NotOurs> {
        let fails = |told, owner| Err(NotOurs { server: self.server.clone(), told, owner });
        match told.filter(|told| self.declared.contains(told) || !told.is_placeholder()) {
            Some(told) if self.is(told) => Ok(()),
            Some(told) => match self.machines.owner(told) {
                None if proven && self.account_is_proof && !self.must_prove => Ok(()),
                owner => fails(Some(told), owner),
            },
            None if self.must_prove => fails(None, None),
            None => Ok(()),
        }
    }
}

/// The BMC is not this machine's, or does not say whose it is where it has to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to be sure of the machine: {}", self.words())]
pub struct NotOurs {
    /// The Server that was meant.
    pub server: String,
    /// What the BMC says; none if it does not say.
    pub told: Option<Guid>,
    /// The Server that has this GUID, if one is known.
    pub owner: Option<String>,
}

impl NotOurs {
    fn words(&self) -> String {
        let Self { server, told, owner } = self;
        match (told, owner) {
            (Some(told), Some(owner)) => {
                format!(
                    "the BMC says that it belongs to machine {told}, which is Server {owner} and not {server}"
                )
            }
            (Some(told), None) => format!("the BMC says that it belongs to machine {told}, not to {server}"),
            (None, _) => {
                format!("several Servers name this BMC, and it does not say which machine is {server}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
