//! Certificates of people: requests that are checked, and what signs them.
//!
//! Each pairing has a certificate authority of its own, so that taking that one away from the authorities that the
//! servers know revokes the pairing and nothing else. Nothing but the key is taken from a request.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use super::registry::AuthorityPem;
use crate::person::PairingId;
use crate::wire::ADMIN_GROUP;

/// Longer than any pairing is renewed; its certificates are short-lived instead.
const AUTHORITY_LIFETIME: Duration = Duration::days(30 * 365);
/// Clocks of clients may be behind ours.
const CLOCK_SKEW: Duration = Duration::days(1);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SignError {
    /// Not a request, or its signature is wrong.
    #[error("failed to read the certificate request")]
    Request(#[source] rcgen::Error),
    /// A key that is weak or that not every server knows.
    #[error("failed to take the certificate request: its key is neither ECDSA on P-256 or P-384 nor Ed25519")]
    Algorithm,
    #[error("failed to make {what}")]
    Make { what: &'static str, source: rcgen::Error },
}

/// A certificate request whose sender holds the key.
pub(super) struct Request(CertificateSigningRequestParams);

impl Request {
    /// Reads PEM and checks the request's own signature.
    pub(super) fn read(pem: &str) -> Result<Self, SignError> {
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(SignError::Request)?;
        let algorithm = request.public_key.algorithm();
        let known = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
        if known.contains(&algorithm) { Ok(Self(request)) } else { Err(SignError::Algorithm) }
    }

    /// Base64 of the public key.
    pub(super) fn public_key(&self) -> String {
        data_encoding::BASE64.encode(&self.0.public_key.subject_public_key_info())
    }
}

/// A new authority for a pairing.
pub(super) fn new_authority(id: &PairingId, not_before: OffsetDateTime) -> Result<AuthorityPem, SignError> {
    let make = |source| SignError::Make { what: "an authority", source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let mut params = named(&id.authority_name(), &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = not_before - CLOCK_SKEW;
    params.not_after = not_before + AUTHORITY_LIFETIME;
    let certificate = params.self_signed(&key).map_err(make)?.pem();
    Ok(AuthorityPem { certificate, key: key.serialize_pem() })
}

/// When a certificate holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
}

/// Signs a client certificate of the group of administrators, PEM.
pub(super) fn sign(
    authority: &AuthorityPem,
    common_name: &str,
    key: &impl PublicKeyData,
    validity: Validity,
) -> Result<String, SignError> {
    let make = |source| SignError::Make { what: "a certificate", source };
    let signer = KeyPair::from_pem(&authority.key).map_err(make)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer).map_err(make)?;
    let mut params = named(common_name, &[ADMIN_GROUP]);
    params.serial_number = Some(SerialNumber::from(rand::random::<u64>() >> 1));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = validity.from - CLOCK_SKEW;
    params.not_after = validity.until;
    Ok(params.signed_by(key, &issuer).map_err(make)?.pem())
}

/// Signs the certificate for a request.
pub(super) fn sign_request(
    authority: &AuthorityPem,
    common_name: &str,
    request: &Request,
    validity: Validity,
) -> Result<String, SignError> {
    sign(authority, common_name, &request.0.public_key, validity)
}

/// A certificate and its key, PEM. The key never leaves the process that made it.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Hides the private key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A certificate with a key of its own, to ask with in the name of a pairing.
pub(super) fn stand_in(
    authority: &AuthorityPem,
    common_name: &str,
    validity: Validity,
) -> Result<Identity, SignError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|source| SignError::Make { what: "a key", source })?;
    let certificate = sign(authority, common_name, &key, validity)?;
    Ok(Identity { certificate, key: key.serialize_pem() })
}

fn named(common_name: &str, organizations: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
