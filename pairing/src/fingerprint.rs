//! The half of a pairing code that proves the appliance: a shortened hash of its public key.
//!
//! It is taken over the `SubjectPublicKeyInfo`, not over the certificate, so that the certificate can be made
//! anew (at every boot, and when addresses change) without a new pairing code.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::base32;

/// Symbols of a fingerprint.
pub(crate) const FINGERPRINT_SYMBOLS: usize = 16;
/// Bytes of a fingerprint. 80 bits: a second key with the same fingerprint is out of reach.
const FINGERPRINT_BYTES: usize = 10;

/// The leading 80 bits of SHA-256 over a public key. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Of a DER-encoded `SubjectPublicKeyInfo` (RFC 5280 §4.1).
    pub fn of_public_key(spki_der: &[u8]) -> Self {
        let digest = Sha256::digest(spki_der);
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
        Self(bytes)
    }

    /// Of the public key in a DER-encoded certificate.
    #[cfg(feature = "x509")]
    pub fn of_certificate(certificate_der: &[u8]) -> Result<Self, CertificateError> {
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let (_, certificate) =
            X509Certificate::from_der(certificate_der).map_err(|source| CertificateError { source })?;
        Ok(Self::of_public_key(certificate.public_key().raw))
    }

    pub(crate) fn symbols(self) -> [u8; FINGERPRINT_SYMBOLS] {
        base32::to_symbols(self.0.iter().fold(0, |value, &byte| (value << 8) | u128::from(byte)))
    }

    pub(crate) fn from_symbols(symbols: &[u8; FINGERPRINT_SYMBOLS]) -> Self {
        let value = base32::from_symbols(symbols).to_be_bytes();
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&value[value.len() - FINGERPRINT_BYTES..]);
        Self(bytes)
    }
}

/// The sixteen symbols as they stand in the code.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for symbol in self.symbols() {
            write!(f, "{}", base32::encode_symbol(symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The bytes are not an X.509 certificate.
#[cfg(feature = "x509")]
#[derive(Debug, thiserror::Error)]
#[error("failed to parse the certificate")]
pub struct CertificateError {
    source: x509_parser::nom::Err<x509_parser::error::X509Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_start_of_the_hash() {
        // SHA-256("abc") begins ba7816bf 8f01cfea 4141 (FIPS 180-4, example).
        let fingerprint = Fingerprint::of_public_key(b"abc");
        assert_eq!(fingerprint.0, [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41]);
        assert_eq!(Fingerprint::from_symbols(&fingerprint.symbols()), fingerprint);
    }
}
