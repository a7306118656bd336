//! What a plane judges records by: its key, its names, and what its ledger has seen.
//!
//! Never shows the key, and never takes a record for its own without the key.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::ledger::Tombstones;

/// Octets of a key.
pub const KEY_LEN: usize = 32;
/// Octets of a signature.
pub const TAG_LEN: usize = 32;
/// The fewest octets of a signature that count: guessing takes 2^127 tries.
pub const SHORTEST_TAG: usize = 16;

/// A key that signs: of the plane for records of disks, of the boot services for boot tokens and orders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey([u8; KEY_LEN]);

impl SigningKey {
    /// A key of these octets.
    pub const fn new(octets: [u8; KEY_LEN]) -> Self {
        Self(octets)
    }

    /// A key of these octets; `None` if they are too few or too many.
    pub fn from_slice(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }

    /// HMAC-SHA256 over the parts, each with its length before it. The first part is the purpose, so that no signature
    /// fits anything else.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        self.start(parts).finalize().into_bytes().into()
    }

    /// True when `tag` begins [`Self::tag`] of the parts and has at least [`SHORTEST_TAG`] octets. Takes the same time
    /// wherever it differs.
    pub fn verifies_tag(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        tag.len() >= SHORTEST_TAG && self.start(parts).verify_truncated_left(tag).is_ok()
    }

    /// [`Self::tag`] in hexadecimal.
    pub fn sign(&self, parts: &[&[u8]]) -> String {
        HEXLOWER.encode(&self.tag(parts))
    }

    /// True when `mac` is what [`Self::sign`] gives for the parts.
    pub fn verifies(&self, parts: &[&[u8]], mac: &str) -> bool {
        let tag = HEXLOWER.decode(mac.as_bytes());
        tag.is_ok_and(|tag| tag.len() == TAG_LEN && self.verifies_tag(parts, &tag))
    }

    fn start(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        // The padded block is what HMAC makes of a key that is shorter than a block (RFC 2104).
        let mut block = [0; 64];
        block[..KEY_LEN].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(..)")
    }
}

/// What records are judged by. Clones share the ledger.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The plane's key; without one no record but a claim counts.
    pub key: Option<SigningKey>,
    /// This plane's identity, and those whose Servers it took over: values of the label
    /// [`crate::plane::PLANE_LABEL`] that are its own. The first is its own identity.
    pub planes: Arc<[String]>,
    /// What the ledger has seen; without it no record but a claim counts.
    pub ledger: Option<Arc<Tombstones>>,
    /// The option `autoAcceptNonEmpty`: contents that nobody read need no second consent.
    pub any_contents: bool,
}

impl Trust {
    /// Trust in a key, of a plane of that identity, with an empty ledger.
    pub fn new(key: SigningKey, plane: &str) -> Self {
        let planes = Arc::from([plane.to_owned()]);
        Self { key: Some(key), planes, ledger: Some(Arc::default()), any_contents: false }
    }

    /// The same with another ledger.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<Tombstones>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// This plane's identity; empty if nobody could tell.
    pub fn plane(&self) -> &str {
        self.planes.first().map_or("", String::as_str)
    }

    /// True for the identity of this plane, or of one whose Servers it took over.
    pub fn is_own(&self, plane: &str) -> bool {
        self.planes.iter().any(|own| own == plane)
    }
}

/// A ledger grows with each claim: two views of one ledger are the same trust.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let Self { key, planes, ledger, any_contents } = self;
        *key == other.key
            && *planes == other.planes
            && ledger.is_some() == other.ledger.is_some()
            && *any_contents == other.any_contents
    }
}

impl Eq for Trust {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_these_parts_and_this_key() {
        let key = SigningKey::new([7; KEY_LEN]);
        let mac = key.sign(&[b"ab", b"c"]);
        assert_eq!(mac.len(), 64);
        assert!(key.verifies(&[b"ab", b"c"], &mac));
        assert!(!key.verifies(&[b"a", b"bc"], &mac));
        assert!(!SigningKey::new([8; KEY_LEN]).verifies(&[b"ab", b"c"], &mac));
        for wrong in ["", "00", "zz", "é", &mac[1..], &mac[2..], &mac.replace('a', "b")] {
            assert!(!key.verifies(&[b"ab", b"c"], wrong) || wrong == mac, "{wrong}");
        }
        assert!(!format!("{key:?}").contains('7'));
    }
}
