//! The key of an administrator, the requests that it signs, and how long its certificate holds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::ClientError;
use crate::PairingId;

/// Makes a key: ECDSA on P-256, which everything that speaks TLS understands.
pub(super) fn new_key() -> Result<KeyPair, ClientError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| ClientError::Key { source })
}

/// Reads the key in a kubeconfig.
pub(super) fn read_key(pem: &str) -> Result<KeyPair, ClientError> {
    KeyPair::from_pem(pem).map_err(|source| ClientError::Key { source })
}

/// A certificate request for the key, PEM. It says nothing but the key: the appliance decides on the rest.
pub(super) fn request(key: &KeyPair) -> Result<String, ClientError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|source| ClientError::Key { source })?;
    request.pem().map_err(|source| ClientError::Key { source })
}

/// When a certificate (PEM) expires; none if it is no certificate.
pub fn expiry(pem: &str) -> Option<SystemTime> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The pairing whose certificate (PEM) this is; none if it is no administrator's of its own.
pub fn pairing_of(pem: &str) -> Option<PairingId> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    PairingId::of_common_name(name)
}
