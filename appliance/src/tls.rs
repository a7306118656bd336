//! The server's certificate and key, and their reload when PID 1 makes them anew.
//!
//! Files that cannot be used (half written, key and certificate not yet matching) never replace ones that
//! work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bloomery_pairing::Fingerprint;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::AnyCertificate;
use crate::metrics::Metrics;

/// How often the files are looked at. Addresses change rarely, and the old certificate serves meanwhile.
const RELOAD_PERIOD: Duration = Duration::from_secs(2);
/// HTTP/1.1 only: less to attack, and nobody here needs more.
const ALPN: &[u8] = b"http/1.1";

/// Where the two files are.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the files made.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    /// Of the key, as it stands in pairing codes.
    pub(crate) fingerprint: Fingerprint,
    /// DNS names and addresses that the certificate is good for.
    pub(crate) names: Vec<String>,
    /// When the certificate expires, in seconds since 1970.
    pub(crate) expires: i64,
}

/// What a file looked like when it was read; enough to notice a replacement.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl TlsFiles {
    pub(crate) fn load(&self) -> Result<ServerTls, TlsError> {
        let chain = certificates(&self.certificate, CertificateDer::pem_file_iter(&self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Read { path: self.key.clone(), source })?;
        let provider = Arc::new(ring::default_provider());
        // Pairing clients have no certificate yet; the paths that need one check it themselves.
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let (fingerprint, names, expires) = self.describe(&chain)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Config { source })?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|source| TlsError::Config { source })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ServerTls { config: Arc::new(config), fingerprint, names, expires })
    }

    fn describe(&self, chain: &[CertificateDer<'_>]) -> Result<(Fingerprint, Vec<String>, i64), TlsError> {
        let path = || self.certificate.clone();
        let leaf = chain.first().ok_or_else(|| TlsError::Empty { path: path() })?;
        let fingerprint = Fingerprint::of_certificate(leaf)
            .map_err(|source| TlsError::Certificate { path: path(), source })?;
        let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
            return Err(TlsError::Empty { path: path() });
        };
        let names = match leaf.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name_text).collect(),
            // A certificate without names is usable by fingerprint only.
            Ok(None) | Err(_) => Vec::new(),
        };
        Ok((fingerprint, names, leaf.validity().not_after.timestamp()))
    }

    fn stamps(&self) -> Stamps {
        [self.certificate.as_path(), &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

/// Takes the files anew whenever they change, until told to stop.
pub(crate) async fn reload(
    files: TlsFiles,
    current: watch::Sender<ServerTls>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    // Unknown at first: whatever changed between the first load and now is seen.
    let mut taken: Option<Stamps> = None;
    while stop.run_until_cancelled(tokio::time::sleep(RELOAD_PERIOD)).await.is_some() {
        let stamps = files.stamps();
        if taken == Some(stamps) {
            continue;
        }
        match files.load() {
            Ok(tls) => {
                if taken.is_some() {
                    metrics.certificate_reloads.increment();
                    tracing::info!(names = tls.names.join(" "), "took the new serving certificate");
                }
                current.send_replace(tls);
            }
            Err(error) => {
                metrics.certificate_reloads_failed.increment();
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "failed to take the new serving certificate; the former one stays");
            }
        }
        taken = Some(stamps);
    }
}

/// All certificates of a PEM source, of which there must be one.
fn certificates(
    path: &Path,
    source: Result<impl Iterator<Item = Result<CertificateDer<'static>, pem::Error>>, pem::Error>,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = source.and_then(Iterator::collect);
    let certificates = certificates.map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if certificates.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(certificates) }
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
            v4.or(v6).ok()
        }
        _ => None,
    }
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error("failed to find a certificate in {}", path.display())]
    Empty { path: PathBuf },
    #[error("failed to use the certificate in {}", path.display())]
    Certificate { path: PathBuf, source: bloomery_pairing::CertificateError },
    #[error("failed to set up TLS")]
    Config { source: rustls::Error },
}
