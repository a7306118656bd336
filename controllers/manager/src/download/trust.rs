//! Whom downloads trust: the public certificate authorities, and those of a file.
//!
//! Never trusts fewer because of that file: it may be absent, and one that cannot be read is an error.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::{ClientConfig, RootCertStore};

use super::Error;
use crate::provider;

/// Where trust comes from.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    extra: Option<PathBuf>,
}

impl Trust {
    /// The public authorities and those of a PEM file.
    pub fn new(extra: Option<PathBuf>) -> Self {
        Self { extra }
    }

    /// The TLS configuration of the moment: the file is read again each time, so that it can be changed.
    pub(super) fn config(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in self.extra_certificates()? {
            roots.add(certificate).map_err(Error::TlsConfig)?;
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::TlsConfig)?
            .with_root_certificates(Arc::new(roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn extra_certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let Some(path) = self.extra.as_ref().filter(|path| path.exists()) else { return Ok(Vec::new()) };
        let failed = |source: PemError| Error::Trust { path: path.clone(), source };
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_no_error_and_a_broken_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let trust = Trust::new(Some(path.clone()));
        assert!(trust.config().is_ok());
        let pair = rcgen::generate_simple_self_signed(vec!["site".to_owned()]).unwrap();
        std::fs::write(&path, pair.cert.pem()).unwrap();
        assert_eq!(trust.extra_certificates().unwrap().len(), 1);
        assert!(trust.config().is_ok());
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(trust.config().unwrap_err(), Error::Trust { .. }));
    }
}
