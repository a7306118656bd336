//! EUI-48 hardware addresses in the notations that people, firmware and boot loaders use.
//!
//! It must never accept anything that is not exactly 48 bits.

use std::fmt;
use std::str::FromStr;

/// Octets of an EUI-48 address.
const OCTETS: usize = 6;

/// An Ethernet hardware address. Displays in lower-case colon form (`52:54:00:12:34:56`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; OCTETS]);

/// Why a text is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse hardware address {text:?}: expected six octets such as 52:54:00:12:34:56")]
pub struct ParseMacError {
    /// What was given.
    pub text: String,
}

impl MacAddr {
    /// The address with these octets, if there are exactly six.
    pub fn from_slice(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }

    /// The octets.
    pub const fn octets(self) -> [u8; OCTETS] {
        self.0
    }

    /// Whether this can be one machine's address: neither all zero nor a group address.
    pub fn is_unicast(self) -> bool {
        self.0 != [0; OCTETS] && self.0[0] & 1 == 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.map(|octet| format!("{octet:02x}"));
        f.write_str(&octets.join(":"))
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Takes `52:54:00:12:34:56`, `52-54-00-12-34-56` (iPXE `hexhyp`), `5254.0012.3456` and
    /// `525400123456`, in either case.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let error = || ParseMacError { text: text.to_owned() };
        let (separator, group) = match text.bytes().find(|byte| !byte.is_ascii_hexdigit()) {
            None => (None, 12),
            Some(b @ (b':' | b'-')) => (Some(char::from(b)), 2),
            Some(b'.') => (Some('.'), 4),
            Some(_) => return Err(error()),
        };
        let groups: Vec<&str> = match separator {
            Some(separator) => text.split(separator).collect(),
            None => vec![text],
        };
        if groups.iter().any(|digits| digits.len() != group) {
            return Err(error());
        }
        let digits: String = groups.concat();
        if digits.len() != 2 * OCTETS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        let value = u64::from_str_radix(&digits, 16).map_err(|_| error())?;
        let [_, _, octets @ ..] = value.to_be_bytes();
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: MacAddr = MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]);

    #[test]
    fn accepts_every_common_notation() {
        for text in
            ["52:54:00:ab:cd:ef", "52:54:00:AB:CD:EF", "52-54-00-ab-cd-ef", "5254.00ab.cdef", "525400abcdef"]
        {
            assert_eq!(text.parse(), Ok(EXAMPLE), "{text}");
        }
        assert_eq!(EXAMPLE.to_string(), "52:54:00:ab:cd:ef");
    }

    #[test]
    fn rejects_what_is_not_six_octets() {
        for text in [
            "",
            "52",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
            "52:54:00:ab:cd:eg",
            "52-54:00-ab:cd-ef",
            "525400abcde",
            "525400abcdef0",
            "5:254:00:ab:cd:ef",
            "52:54:00:ab:cd:+f",
            "é2:54:00:ab:cd:ef",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_and_group_addresses_are_nobodys() {
        assert!(EXAMPLE.is_unicast());
        assert!(!MacAddr([0; 6]).is_unicast());
        assert!(!MacAddr([0xff; 6]).is_unicast());
        assert!(!MacAddr([0x01, 0, 0x5e, 0, 0, 1]).is_unicast());
    }

    proptest! {
        #[test]
        fn never_panics_on_arbitrary_text(text in "\\PC{0,40}") {
            let _ = text.parse::<MacAddr>();
        }

        #[test]
        fn text_form_parses_back(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }
}
