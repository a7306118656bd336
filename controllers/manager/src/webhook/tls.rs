//! The webhook's certificate: read from files, and read again when they change.
//!
//! Never lets go of a certificate that works for one that cannot be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bloomery_platform::chain;
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use crate::provider;

/// File names in the certificate directory, as Kubernetes' TLS Secrets have them.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// How often the files are looked at: they change once in a certificate's life.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse {}", path.display())]
    Parse { path: PathBuf, source: rustls::pki_types::pem::Error },
    /// Certificate and key do not belong together, or are of no use.
    #[error("failed to use the certificate in {}", path.display())]
    Use { path: PathBuf, source: rustls::Error },
}

/// The files' bytes, by which a change is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Gives each handshake the certificate of the moment.
#[derive(Debug)]
pub struct ReloadedCertificate {
    directory: PathBuf,
    current: RwLock<(Files, Arc<CertifiedKey>)>,
}

impl ReloadedCertificate {
    /// Reads the certificate for the first time.
    pub fn load(directory: &Path) -> Result<Arc<Self>, Error> {
        let files = read(directory)?;
        let key = certified_key(directory, &files)?;
        Ok(Arc::new(Self { directory: directory.to_owned(), current: RwLock::new((files, Arc::new(key))) }))
    }

    /// Looks at the files again and again, for ever.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.reload() {
                Ok(true) => info!(directory = %self.directory.display(), "webhook certificate read again"),
                Ok(false) => {}
                Err(error) => warn!(error = chain(&error), "webhook certificate kept as it was"),
            }
        }
    }

    /// True when the files had changed.
    fn reload(&self) -> Result<bool, Error> {
        let files = read(&self.directory)?;
        if self.current.read().0 == files {
            return Ok(false);
        }
        let key = Arc::new(certified_key(&self.directory, &files)?);
        *self.current.write() = (files, key);
        Ok(true)
    }
}

impl ResolvesServerCert for ReloadedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().1.clone())
    }
}

fn read(directory: &Path) -> Result<Files, Error> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(|source| Error::Read { path, source })
    };
    Ok(Files { certificate: read(CERTIFICATE)?, key: read(KEY)? })
}

fn certified_key(directory: &Path, files: &Files) -> Result<CertifiedKey, Error> {
    let unparsable = |name: &str| {
        let path = directory.join(name);
        move |source| Error::Parse { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.certificate)
        .collect::<Result<_, _>>()
        .map_err(unparsable(CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(unparsable(KEY))?;
    let unusable = |source| Error::Use { path: directory.to_owned(), source };
    CertifiedKey::from_der(chain, key, &provider()).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str) {
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(directory.join(CERTIFICATE), pair.cert.pem()).unwrap();
        std::fs::write(directory.join(KEY), pair.signing_key.serialize_pem()).unwrap();
    }

    fn leaf(certificate: &ReloadedCertificate) -> Vec<u8> {
        certificate.current.read().1.cert[0].to_vec()
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(ReloadedCertificate::load(directory.path()).unwrap_err(), Error::Read { .. }));
        write(directory.path(), "a");
        let certificate = ReloadedCertificate::load(directory.path()).unwrap();
        let first = leaf(&certificate);
        assert!(!certificate.reload().unwrap());
        write(directory.path(), "b");
        assert!(certificate.reload().unwrap());
        let second = leaf(&certificate);
        assert_ne!(first, second);
        std::fs::write(directory.path().join(KEY), "no key").unwrap();
        assert!(matches!(certificate.reload().unwrap_err(), Error::Parse { .. }));
        std::fs::write(directory.path().join(CERTIFICATE), "").unwrap();
        assert!(certificate.reload().is_err());
        assert_eq!(leaf(&certificate), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a");
        let foreign = rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap();
        std::fs::write(directory.path().join(KEY), foreign.signing_key.serialize_pem()).unwrap();
        assert!(matches!(ReloadedCertificate::load(directory.path()).unwrap_err(), Error::Use { .. }));
    }
}
