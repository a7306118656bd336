//! The holder of the certificate at the other end of a connection, and whether the certificate is good.
//!
//! The handshake proves only that the other end holds the certificate's key. Whether the certificate is good is asked
//! anew with every request, of the file that PID 1 keeps: a pairing that was revoked a moment ago is refused on
//! connections that are open, too.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bloomery_pairing::PairingId;
use bloomery_pairing::wire::{ADMIN_GROUP, SHARED_ID, SHARED_USER};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

/// The authority of the certificate that earlier versions handed out.
const SHARED_AUTHORITY: &str = "bloomery";

/// The other end of a connection, put into every request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Its address, IPv4 as IPv4.
    pub(crate) address: IpAddr,
    /// The certificate whose key it holds.
    pub(crate) certificate: Option<Arc<CertificateDer<'static>>>,
}

impl Caller {
    /// `chain` is what the handshake proved the key of; the first is the client's own.
    pub(crate) fn new(address: IpAddr, chain: Option<&[CertificateDer<'_>]>) -> Self {
        let certificate = chain.and_then(<[_]>::first).map(|own| Arc::new(own.clone().into_owned()));
        Self { address: address.to_canonical(), certificate }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A pairing's.
    Pairing(PairingId),
    /// The one that an earlier version gave to everybody.
    Shared,
}

impl Holder {
    /// As PID 1 calls it.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Pairing(id) => id.as_str(),
            Self::Shared => SHARED_ID,
        }
    }
}

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// There is none, or it is not an administrator's.
    #[error("failed to find an administrator's certificate")]
    Stranger,
    #[error("failed to take the certificate: it has expired")]
    Expired,
    /// No authority in force signed it.
    #[error("failed to take the certificate: its pairing was revoked, or it is another appliance's")]
    Revoked,
    #[error("failed to read the authorities from {}", path.display())]
    Authorities { path: PathBuf, source: io::Error },
}

/// Tells whose certificate it is, if it is good now under the authorities in the file (PEM).
pub(crate) fn identify(
    certificate: Option<&CertificateDer<'_>>,
    authorities: &Path,
    now: UnixTime,
) -> Result<Holder, NotTaken> {
    let certificate = certificate.ok_or(NotTaken::Stranger)?;
    let (holder, issuer) = claimed(certificate).ok_or(NotTaken::Stranger)?;
    let expected = match &holder {
        Holder::Pairing(id) => id.authority_name(),
        Holder::Shared => SHARED_AUTHORITY.to_owned(),
    };
    // Each authority signs for its own name and for no other.
    if issuer != expected {
        return Err(NotTaken::Revoked);
    }
    let read = |source| NotTaken::Authorities { path: authorities.to_owned(), source };
    let Some(verifier) = verifier(authorities).map_err(read)? else { return Err(NotTaken::Revoked) };
    match verifier.verify_client_cert(certificate, &[], now) {
        Ok(_) => Ok(holder),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Err(NotTaken::Expired),
        Err(_) => Err(NotTaken::Revoked),
    }
}

/// Whose the certificate says it is, and the name of what signed it.
fn claimed(certificate: &[u8]) -> Option<(Holder, String)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    subject.iter_organization().any(|name| name.as_str() == Ok(ADMIN_GROUP)).then_some(())?;
    let name = only_common_name(subject)?;
    let holder = match name.as_str() {
        SHARED_USER => Holder::Shared,
        other => Holder::Pairing(PairingId::of_common_name(other)?),
    };
    Some((holder, only_common_name(certificate.issuer())?))
}

fn only_common_name(name: &X509Name<'_>) -> Option<String> {
    let mut names = name.iter_common_name();
    let only = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(only)
}

/// None when the file names no authority.
fn verifier(authorities: &Path) -> io::Result<Option<Arc<dyn ClientCertVerifier>>> {
    let text = fs::read(authorities)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map(Some).map_err(io::Error::other)
}

/// Whether the authorities can be read.
pub(crate) fn check(authorities: &Path) -> io::Result<()> {
    verifier(authorities).map(drop)
}

/// Takes any certificate whose key the client holds; [`identify`] decides what it is good for.
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
