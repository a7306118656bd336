//! What a plane judges records by: its key, its names, and what its ledger has seen.
//!
//! Never shows the key, and never takes a record for its own without the key.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::ledger::Tombstones;

/// Octets of a key.
pub const KEY_LEN: usize = 32;

/// The plane's key: whoever has it can write records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordKey([u8; KEY_LEN]);

impl RecordKey {
    /// A key of these octets.
    pub const fn new(octets: [u8; KEY_LEN]) -> Self {
        Self(octets)
    }

    /// HMAC-SHA256 over the parts, each with its length before it, in hexadecimal.
    pub fn sign(&self, parts: &[&[u8]]) -> String {
        self.start(parts).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// True when `mac` is what [`Self::sign`] gives for the parts. Takes the same time wherever it differs.
    pub fn verifies(&self, parts: &[&[u8]], mac: &str) -> bool {
        let Some(octets) = unhex(mac) else { return false };
        self.start(parts).is_some_and(|started| started.verify_slice(&octets).is_ok())
    }

    fn start(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Some(mac)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RecordKey(..)")
    }
}

fn hex(octets: &[u8]) -> String {
    use fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What records are judged by. Clones share the ledger.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The plane's key; without one no record but a claim counts.
    pub key: Option<RecordKey>,
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
    pub fn new(key: RecordKey, plane: &str) -> Self {
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
        let key = RecordKey::new([7; KEY_LEN]);
        let mac = key.sign(&[b"ab", b"c"]);
        assert_eq!(mac.len(), 64);
        assert!(key.verifies(&[b"ab", b"c"], &mac));
        assert!(!key.verifies(&[b"a", b"bc"], &mac));
        assert!(!RecordKey::new([8; KEY_LEN]).verifies(&[b"ab", b"c"], &mac));
        for wrong in ["", "00", "zz", "é", &mac[1..], &mac[2..], &mac.replace('a', "b")] {
            assert!(!key.verifies(&[b"ab", b"c"], wrong) || wrong == mac, "{wrong}");
        }
        assert!(!format!("{key:?}").contains('7'));
    }
}
