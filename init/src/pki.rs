//! Certificates: three authorities and two keys that are made once, and everything else at every boot.
//!
//! Certificates of administrators are signed on demand (`people.rs`); their authorities are kept with the list of
//! pairings. Files on the state partition are never made anew while any of them is there: a new authority would lock out
//! every administrator and machine. Damage is an error.

pub mod authority;
pub mod identities;
pub mod kubeconfig;
pub mod leaf;
pub mod people;
pub mod provision;
pub mod rights;

use crate::files;
use authority::Authority;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to keep certificates")]
    File(#[source] files::Error),
    #[error("failed to make {what}")]
    Make { what: &'static str, source: rcgen::Error },
    /// A file is there, and is not what it should be.
    #[error("failed to understand {}: it is damaged", path.display())]
    Damaged { path: PathBuf, source: rcgen::Error },
    #[error("failed to find {}, although {} is there", missing.display(), present.display())]
    Half { missing: PathBuf, present: PathBuf },
    #[error("failed to open the list of pairings")]
    Pairings(#[source] bloomery_pairing::authority::StoreError),
    #[error("failed to keep the pairing code")]
    Secret(#[source] bloomery_pairing::SecretFileError),
    /// What the servers are to take, or the socket where certificates are signed.
    #[error("failed to {what}")]
    People { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// They do not belong together.
    #[error("failed to use {}: it does not belong to its key", path.display())]
    Mismatch { path: PathBuf },
}

/// What is kept on the state partition.
#[derive(Debug)]
pub struct Pki {
    /// Signs the certificates of the API server, the appliance and the webhooks.
    pub ca: Authority,
    /// Signs the processes that speak to the Kubernetes API. Not what signs the servers: that one signed the
    /// certificate that an earlier version gave to everybody.
    pub client_ca: Authority,
    /// Signs etcd and its one client.
    pub etcd_ca: Authority,
    /// Signs service account tokens.
    pub service_account: KeyPair,
    /// The appliance's TLS key: its public half is in every pairing code.
    pub appliance: KeyPair,
}

impl Pki {
    /// Reads everything, and makes what has never been made.
    pub fn open(directory: &Path, not_before: OffsetDateTime) -> Result<Self, Error> {
        files::directory(directory, files::PRIVATE_DIR, None).map_err(Error::File)?;
        let had_earlier_version =
            directory.join("ca.crt").exists() && !directory.join("client-ca.key").exists();
        // Before the authority that tells a new plane from an earlier version's.
        bloomery_pairing::authority::begin(&directory.join(people::PAIRINGS), had_earlier_version)
            .map_err(Error::Pairings)?;
        let service_account = keep_key(&directory.join("sa.key"))?;
        keep_public_half(&directory.join("sa.pub"), &service_account)?;
        Ok(Self {
            ca: Authority::keep(directory, "ca", "bloomery", not_before)?,
            client_ca: Authority::keep(directory, "client-ca", "bloomery-clients", not_before)?,
            etcd_ca: Authority::keep(directory, "etcd-ca", "bloomery-etcd", not_before)?,
            service_account,
            appliance: keep_key(&directory.join("appliance.key"))?,
        })
    }

    /// The fingerprint in the pairing code.
    pub fn appliance_fingerprint(&self) -> bloomery_pairing::Fingerprint {
        bloomery_pairing::Fingerprint::of_public_key(&self.appliance.subject_public_key_info())
    }
}

/// Reads a key, or makes it.
fn keep_key(path: &Path) -> Result<KeyPair, Error> {
    if let Some(text) = files::read_if_there(path).map_err(Error::File)? {
        return KeyPair::from_pem(&text).map_err(|source| Error::Damaged { path: path.to_owned(), source });
    }
    let key = new_key()?;
    files::replace(path, key.serialize_pem().as_bytes(), files::PRIVATE, None).map_err(Error::File)?;
    Ok(key)
}

/// Writes the public half beside its key; not at each boot, since a full disk must not keep the plane down.
fn keep_public_half(path: &Path, key: &KeyPair) -> Result<(), Error> {
    let public = key.public_key_pem();
    if files::read_if_there(path).map_err(Error::File)?.is_some_and(|kept| kept == public) {
        return Ok(());
    }
    files::replace(path, public.as_bytes(), files::PRIVATE, None).map_err(Error::File)
}

/// ECDSA on P-256: understood by everything that speaks TLS, and quick to make on small machines.
fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| Error::Make { what: "a key", source })
}

#[cfg(test)]
#[path = "pki/tests.rs"]
mod tests;
