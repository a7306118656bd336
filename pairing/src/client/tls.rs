//! The two ways to trust an appliance: by the fingerprint in a code, or by its certificate authority.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::AdminCredentials;
use super::error::ClientError;
use crate::Fingerprint;

/// Trusts exactly the key with this fingerprint, whatever names and dates its certificate carries.
pub(super) fn pinned(fingerprint: Fingerprint) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = PinnedKey { fingerprint, algorithms };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| ClientError::TlsConfig { source })?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Trusts what the certificate authority signed for the name, and shows the admin certificate.
pub(super) fn authenticated(credentials: &AdminCredentials) -> Result<ClientConfig, ClientError> {
    let tls = |source| ClientError::TlsConfig { source };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("certificate authority", &credentials.certificate_authority)? {
        roots.add(certificate).map_err(|source| ClientError::CertificateAuthority { source })?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().map_err(
            |source| ClientError::CertificateAuthority { source: rustls::Error::General(source.to_string()) },
        )?;
    let key = PrivateKeyDer::from_pem_slice(credentials.client_key.as_bytes())
        .map_err(|source| ClientError::Pem { what: "client key", source })?;
    let chain = certificates("client certificate", &credentials.client_certificate)?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(tls)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(ClientError::Pem { what, source: rustls_pki_types::pem::Error::NoItemsFound })
        }
        other => other.map_err(|source| ClientError::Pem { what, source }),
    }
}

/// The key is not the one of the code.
#[derive(Debug, thiserror::Error)]
#[error("failed to match the fingerprint")]
pub(super) struct FingerprintMismatch {
    pub(super) expected: Fingerprint,
    pub(super) found: Fingerprint,
}

impl FingerprintMismatch {
    /// Looks for it in a handshake's error.
    pub(super) fn find(error: &io::Error) -> Option<&Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                let inner: &(dyn Error + 'static) = inner.as_ref();
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

/// Accepts one key. That the server holds it is proven by the handshake's signature, checked as usual.
#[derive(Debug)]
struct PinnedKey {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of_certificate(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = FingerprintMismatch { expected: self.fingerprint, found };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
