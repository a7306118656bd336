//! Names of administrators in certificates: `admin:USER@HOST#ID`.
//!
//! USER and HOST are what the workstation says of itself and prove nothing; ID is the authority's and is unique.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Before every name in a certificate.
const PREFIX: &str = "admin:";
/// Before the ID in the name of a pairing's authority.
const AUTHORITY_PREFIX: &str = "bloomery:pairing:";
/// Symbols of an ID: 40 bits, which tell the pairings of one appliance apart.
pub(crate) const ID_SYMBOLS: usize = 8;
/// Symbols of an ID: digits and lower case letters without those that look alike.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// With prefix and ID, a common name stays below 64 characters (RFC 5280, ub-common-name).
const MAX_USER: usize = 20;
/// See [`MAX_USER`].
const MAX_HOST: usize = 24;
/// Where a workstation does not say.
const UNKNOWN: &str = "unknown";

/// `USER@HOST`: the person and the workstation, as the workstation calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person(String);

impl Person {
    /// From a user's and a host's name. Characters other than letters, digits, `.`, `_` and `-` become `-`; what is
    /// too long is cut.
    pub fn new(user: &str, host: &str) -> Self {
        Self(format!("{}@{}", part(user, MAX_USER), part(host, MAX_HOST)))
    }

    /// The text `USER@HOST`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in the certificate of the pairing `id`.
    pub fn common_name(&self, id: &PairingId) -> String {
        format!("{PREFIX}{self}#{id}")
    }
}

/// Keeps what may stand in a name.
fn part(text: &str, limit: usize) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    let kept: String = text
        .trim()
        .chars()
        .take(limit)
        .map(|character| if plain(character) { character } else { '-' })
        .collect();
    if kept.is_empty() { UNKNOWN.to_owned() } else { kept }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Person {
    type Err = PersonError;

    /// Reads `USER@HOST` strictly, as a person types it.
    fn from_str(text: &str) -> Result<Self, PersonError> {
        let (user, host) = text.split_once('@').ok_or_else(|| PersonError { text: text.to_owned() })?;
        let person = Self::new(user, host);
        if person.0 == text { Ok(person) } else { Err(PersonError { text: text.to_owned() }) }
    }
}

/// Not a name of an administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to read {text:?} as USER@HOST (letters, digits, '.', '_' and '-'; at most {MAX_USER} for the user and \
     {MAX_HOST} for the host)"
)]
pub struct PersonError {
    text: String,
}

/// What tells one pairing from all others of an appliance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairingId(String);

impl PairingId {
    /// From random bits, of which the low 40 count.
    pub fn from_bits(bits: u64) -> Self {
        let symbol = |index: usize| {
            let place = usize::try_from((bits >> (5 * index)) & 31).unwrap_or_default();
            char::from(ID_ALPHABET[place])
        };
        Self((0..ID_SYMBOLS).map(symbol).collect())
    }

    /// The eight characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the authority that signs this pairing's certificates and no others.
    pub fn authority_name(&self) -> String {
        format!("{AUTHORITY_PREFIX}{self}")
    }

    /// The ID in a certificate's common name; none if the name is not an administrator's.
    pub fn of_common_name(name: &str) -> Option<Self> {
        let (person, id) = name.strip_prefix(PREFIX)?.rsplit_once('#')?;
        person.parse::<Person>().ok()?;
        id.parse().ok()
    }
}

impl fmt::Display for PairingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PairingId {
    type Err = PairingIdError;

    fn from_str(text: &str) -> Result<Self, PairingIdError> {
        let lower = text.to_ascii_lowercase();
        let known = lower.bytes().all(|byte| ID_ALPHABET.contains(&byte));
        if known && lower.len() == ID_SYMBOLS {
            Ok(Self(lower))
        } else {
            Err(PairingIdError { text: text.to_owned() })
        }
    }
}

impl Serialize for PairingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PairingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Not an ID of a pairing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {text:?} as the ID of a pairing: it has {ID_SYMBOLS} letters and digits")]
pub struct PairingIdError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_workstation_says_becomes_a_plain_name() {
        for (user, host, expected) in [
            ("alice", "laptop", "alice@laptop"),
            ("al ice\n", "lap#top@x", "al-ice@lap-top-x"),
            ("", "", "unknown@unknown"),
            ("jörg", "büro", "j-rg@b-ro"),
            ("a-name-that-is-longer-than-that", "h", "a-name-that-is-longe@h"),
        ] {
            assert_eq!(Person::new(user, host).as_str(), expected);
        }
    }

    #[test]
    fn only_whole_names_of_administrators_have_an_id() {
        let id = PairingId::from_bits(0x12_3456_789a);
        let name = Person::new("alice", "laptop").common_name(&id);
        assert!(name.starts_with("admin:alice@laptop#"), "{name}");
        assert_eq!(PairingId::of_common_name(&name), Some(id.clone()));
        for other in [
            "bloomery:admin".to_owned(),
            "bloomery:apply".to_owned(),
            format!("alice@laptop#{id}"),
            format!("admin:alice#{id}"),
            format!("admin:alice@laptop#{id}0"),
            "admin:alice@laptop#".to_owned(),
            format!("admin:al ice@laptop#{id}"),
        ] {
            assert_eq!(PairingId::of_common_name(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_name_fits_a_certificate_and_reads_back(user in ".*", host in ".*", bits: u64) {
            let (person, id) = (Person::new(&user, &host), PairingId::from_bits(bits));
            let name = person.common_name(&id);
            prop_assert!(name.len() < 64, "{}", name);
            prop_assert_eq!(PairingId::of_common_name(&name), Some(id));
            prop_assert_eq!(person.as_str().parse::<Person>(), Ok(person));
        }
    }
}
