//! The key of a BMC's certificate: trusted at first use, and the only one from then on.
//!
//! Never trusts a key that the BMC has not proven to have.

use std::fmt::{Debug, Display, Formatter};
use std::sync::OnceLock;

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

const LEN: usize = 32;
const PREFIX: &str = "sha256:";

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, 2.4): a certificate that is renewed for the same key
/// keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePin([u8; LEN]);

impl CertificatePin {
    /// The pin of a SubjectPublicKeyInfo in DER.
    pub fn of(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix(PREFIX)?;
        Some(Self(HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl Display for CertificatePin {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{PREFIX}{}", HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl Debug for CertificatePin {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, formatter)
    }
}

/// Which key a BMC may show.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    pinned: OnceLock<CertificatePin>,
}

impl Trust {
    /// Only this key; without one the first that is shown and proven.
    pub(crate) fn new(pinned: Option<CertificatePin>) -> Self {
        let trust = Self::default();
        if let Some(pin) = pinned {
            trust.learn(pin);
        }
        trust
    }

    /// The key, once there is one.
    pub(crate) fn pinned(&self) -> Option<CertificatePin> {
        self.pinned.get().copied()
    }

    /// A handshake with this key was finished.
    pub(super) fn learn(&self, pin: CertificatePin) {
        // A second one is the same: the verifier lets no other through.
        let _ = self.pinned.set(pin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pin_are_one() {
        let pin = CertificatePin::of(b"key");
        assert_eq!(CertificatePin::parse(&pin.to_string()), Some(pin));
        assert_eq!(CertificatePin::parse(&format!(" {pin}\n")), Some(pin));
        let digits = "a".repeat(64);
        for text in
            ["", "sha256:", "sha256:00", &digits, &format!("sha1:{digits}"), &format!("sha256:{digits}0")]
        {
            assert_eq!(CertificatePin::parse(text), None, "{text}");
        }
        assert_eq!(CertificatePin::parse(&format!("sha256:{}", "ä".repeat(32))), None);
    }

    #[test]
    fn the_first_key_is_the_only_one() {
        let (first, second) = (CertificatePin::of(b"1"), CertificatePin::of(b"2"));
        let trust = Trust::new(None);
        assert_eq!(trust.pinned(), None);
        trust.learn(first);
        trust.learn(second);
        assert_eq!(trust.pinned(), Some(first));
        assert_eq!(Trust::new(Some(second)).pinned(), Some(second));
    }
}
