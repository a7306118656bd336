//! A certificate authority that is made once and kept.

use super::{Error, keep_key};
use crate::files;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// Longer than any machine; there is no way to renew an authority that clusters' machines were told of.
pub const LIFETIME: Duration = Duration::days(30 * 365);
/// Clocks of clients may be behind ours.
const CLOCK_SKEW: Duration = Duration::days(1);

/// A key that signs certificates, and its own certificate.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `NAME.key` and `NAME.crt`, or makes them. The key is written first, so that a power cut between the two
    /// leaves a key without a certificate, for which one is made; the other way round is damage.
    pub(super) fn keep(
        directory: &Path,
        name: &str,
        common_name: &str,
        not_before: OffsetDateTime,
    ) -> Result<Self, Error> {
        let (key_path, path) = (directory.join(format!("{name}.key")), directory.join(format!("{name}.crt")));
        let stored = files::read_if_there(&path).map_err(Error::File)?;
        if stored.is_some() && !key_path.exists() {
            return Err(Error::Half { missing: key_path, present: path });
        }
        let key = keep_key(&key_path)?;
        let certificate = if let Some(certificate) = stored {
            certificate
        } else {
            let made = certificate(&key, common_name, not_before)?;
            files::replace(&path, made.as_bytes(), files::PRIVATE, None).map_err(Error::File)?;
            made
        };
        if !belongs(&certificate, &key) {
            return Err(Error::Mismatch { path });
        }
        let issuer =
            Issuer::from_ca_cert_pem(&certificate, key).map_err(|source| Error::Damaged { path, source })?;
        Ok(Self { certificate, issuer })
    }

    /// PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

fn certificate(key: &KeyPair, common_name: &str, not_before: OffsetDateTime) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = not_before - CLOCK_SKEW;
    params.not_after = not_before + LIFETIME;
    let made = params.self_signed(key).map_err(|source| Error::Make { what: "an authority", source })?;
    Ok(made.pem())
}

/// Whether the certificate is the key's.
fn belongs(certificate: &str, key: &KeyPair) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else { return false };
    pem.parse_x509().is_ok_and(|parsed| parsed.public_key().raw == key.subject_public_key_info())
}
