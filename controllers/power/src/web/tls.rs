//! TLS with BMCs: they sign their certificates themselves, so the key is pinned at first use and its signature checked.
//!
//! Never checks a name, a date or an issuer, and never goes on with a key that was not proven or is not the pinned one.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificatePin, Trust, WebError};
use crate::endpoint::Origin;

/// Sets up TLS on `tcp`; the first key that is proven becomes the trusted one.
pub(super) async fn connect(
    origin: &Origin,
    tcp: TcpStream,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, WebError> {
    let name = origin.to_string();
    let other = |error: Arc<dyn std::error::Error + Send + Sync>| WebError::Tls {
        origin: name.clone(),
        source: Arc::new(std::io::Error::other(error)),
    };
    let server = ServerName::try_from(origin.host.clone()).map_err(|error| other(Arc::new(error)))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned {
        provider: Arc::clone(&provider),
        expected: trust.pinned(),
        shown: OnceLock::new(),
    });
    let presented: Arc<dyn ServerCertVerifier> = Arc::<Pinned>::clone(&verifier);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| other(Arc::new(error)))?
        .dangerous()
        .with_custom_certificate_verifier(presented)
        .with_no_client_auth();
    let result = TlsConnector::from(Arc::new(config)).connect(server, tcp).await;
    match (result, verifier.expected, verifier.shown.get().copied()) {
        (Ok(stream), _, Some(shown)) => {
            trust.learn(shown);
            Ok(stream)
        }
        (Ok(_), _, None) => Err(other(Arc::new(Error::NoCertificatesPresented))),
        (Err(_), Some(pinned), Some(shown)) if pinned != shown => {
            Err(WebError::CertificateChanged { origin: name, pinned, shown })
        }
        (Err(error), _, _) => Err(failed(name, error)),
    }
}

fn failed(origin: String, error: std::io::Error) -> WebError {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let no_common_suite = matches!(
        reason,
        Some(
            Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
                | Error::PeerIncompatible(_)
        )
    );
    let source = Arc::new(error);
    if no_common_suite { WebError::CipherSuite { origin, source } } else { WebError::Tls { origin, source } }
}

/// Accepts the pinned key, or any where none is pinned yet, in whatever certificate it comes.
#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    expected: Option<CertificatePin>,
    shown: OnceLock<CertificatePin>,
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
    Ok(parsed)
}

impl Pinned {
    /// Checks the handshake's signature with the certificate's key. `webpki` would refuse the X.509 version 1
    /// certificates of old BMCs here, whose keys are as good as others.
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parsed(certificate)?;
        let key = certificate.public_key();
        let algorithm =
            identifier(key.raw).ok_or(Error::General("the certificate's key is unreadable".into()))?;
        let algorithms = self.provider.signature_verification_algorithms;
        let candidates = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let mut candidates = candidates
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|candidate| candidate.public_key_alg_id().as_ref() == algorithm)
            .peekable();
        if candidates.peek().is_none() {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let bits = &key.subject_public_key.data;
        if candidates.any(|candidate| candidate.verify_signature(bits, message, signed.signature()).is_ok()) {
            Ok(HandshakeSignatureValid::assertion())
        } else if key.parsed().is_ok_and(|key| key.key_size() < MIN_RSA_BITS && algorithm_is_rsa(&key)) {
            Err(Error::General(format!("the certificate's RSA key has less than {MIN_RSA_BITS} bits")))
        } else {
            Err(Error::InvalidCertificate(rustls::CertificateError::BadSignature))
        }
    }
}

/// Shorter RSA keys can be broken, and `ring` does not check their signatures.
const MIN_RSA_BITS: usize = 2048;

fn algorithm_is_rsa(key: &x509_parser::public_key::PublicKey<'_>) -> bool {
    matches!(key, x509_parser::public_key::PublicKey::RSA(_))
}

/// The contents of the AlgorithmIdentifier in a SubjectPublicKeyInfo: both are DER sequences, the one in the other.
fn identifier(spki: &[u8]) -> Option<&[u8]> {
    contents(contents(spki)?)
}

/// The contents of the DER sequence that `bytes` begin with.
fn contents(bytes: &[u8]) -> Option<&[u8]> {
    let (_, any) = Any::from_der(bytes).ok()?;
    (any.tag() == Tag::Sequence).then_some(any.data)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = CertificatePin::of(parsed(certificate)?.public_key().raw);
        let _ = self.shown.set(shown);
        if self.expected.is_none_or(|pinned| pinned == shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let outdated = matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
                | SignatureScheme::RSA_PKCS1_SHA1
                | SignatureScheme::ECDSA_SHA1_Legacy
        );
        if outdated {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.check(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
