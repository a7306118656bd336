//! Secrets at rest: kube-apiserver encrypts them before etcd stores them, with a key that is made once.
//!
//! The key lies on the state partition, beside the data, readable by root alone; a copy in memory is the API
//! server's. It protects backups of etcd and files that get out, not a disk that is taken out as a whole. It must
//! never be made anew while anything is encrypted with it.

use crate::files;
use crate::layout::Layout;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Kubernetes' `secretbox` (`XSalsa20` and Poly1305) takes a key of so many octets.
const KEY_OCTETS: usize = 32;
/// Octets of the key's SHA-256 that name it.
const NAME_OCTETS: usize = 8;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to keep the key of Secrets")]
    File(#[source] files::Error),
    #[error("failed to make the key of Secrets")]
    Random(#[source] rand::rand_core::OsError),
    #[error("failed to understand {}: it is damaged; restore it from a backup", path.display())]
    Damaged { path: PathBuf },
    /// Secrets are encrypted with another key, or with one that is gone.
    #[error(
        "failed to find the key {name} in {}: Secrets are encrypted with it; restore it from a backup",
        path.display()
    )]
    Lost { name: String, path: PathBuf },
}

/// The key that Secrets are encrypted with.
#[derive(Clone)]
pub struct Key {
    octets: [u8; KEY_OCTETS],
}

/// The key itself is never shown.
impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Key").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads the key, or makes it if there has never been one.
    pub fn open(layout: &Layout) -> Result<Self, Error> {
        let (path, record) = (layout.encryption_key(), layout.encryption_key_name());
        let recorded = files::read_if_there(&record).map_err(Error::File)?;
        let recorded = recorded.map(|name| name.trim().to_owned());
        let key = match (files::read_if_there(&path).map_err(Error::File)?, &recorded) {
            (Some(text), _) => Self::parse(&text).ok_or_else(|| Error::Damaged { path: path.clone() })?,
            (None, Some(name)) => return Err(Error::Lost { name: name.clone(), path }),
            (None, None) => {
                let mut octets = [0; KEY_OCTETS];
                OsRng.try_fill_bytes(&mut octets).map_err(Error::Random)?;
                let made = Self { octets };
                let text = format!("{}\n", made.text());
                files::replace(&path, text.as_bytes(), files::PRIVATE, None).map_err(Error::File)?;
                made
            }
        };
        match recorded {
            Some(name) if name == key.name() => {}
            Some(name) => return Err(Error::Lost { name, path }),
            // After the key: a power cut between the two leaves a key that is taken up again.
            None => {
                let text = format!("{}\n", key.name());
                files::replace(&record, text.as_bytes(), files::PRIVATE, None).map_err(Error::File)?;
            }
        }
        Ok(key)
    }

    fn parse(text: &str) -> Option<Self> {
        let octets = STANDARD.decode(text.trim()).ok()?;
        Some(Self { octets: octets.try_into().ok()? })
    }

    fn text(&self) -> String {
        STANDARD.encode(self.octets)
    }

    /// What stands before each encrypted value, and tells nothing of the key.
    pub fn name(&self) -> String {
        let digest = Sha256::digest(self.octets);
        digest.iter().take(NAME_OCTETS).fold("key-".to_owned(), |mut name, octet| {
            // Writing to a String cannot fail.
            let _ = write!(name, "{octet:02x}");
            name
        })
    }

    /// kube-apiserver's `EncryptionConfiguration`. What was stored before is still read as it is.
    pub fn configuration(&self) -> String {
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{
                "resources": ["secrets"],
                "providers": [
                    { "secretbox": { "keys": [{ "name": self.name(), "secret": self.text() }] } },
                    { "identity": {} },
                ],
            }],
        });
        format!("{configuration:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path());
        files::directory(&layout.pki(), files::PRIVATE_DIR, None).unwrap();
        (dir, layout)
    }

    #[test]
    fn the_key_is_made_once_and_roots_alone() {
        let (_dir, layout) = layout();
        let first = Key::open(&layout).unwrap();
        assert_eq!(fs::metadata(layout.encryption_key()).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Key::open(&layout).unwrap();
        assert_eq!((first.name(), first.octets), (second.name(), second.octets));
        assert!(!format!("{first:?}").contains(&first.text()));
        assert!(!first.name().contains(first.text().trim_end_matches('=')));
    }

    #[test]
    fn a_lost_key_is_never_made_anew() {
        let (_dir, layout) = layout();
        let name = Key::open(&layout).unwrap().name();
        fs::remove_file(layout.encryption_key()).unwrap();
        match Key::open(&layout) {
            Err(Error::Lost { name: lost, .. }) => assert_eq!(lost, name),
            other => panic!("{other:?}"),
        }
        // Nor is another's taken for it.
        fs::write(layout.encryption_key(), STANDARD.encode([7; KEY_OCTETS])).unwrap();
        assert!(matches!(Key::open(&layout), Err(Error::Lost { .. })));
    }

    #[test]
    fn a_power_cut_before_the_name_is_harmless_and_damage_is_said() {
        let (_dir, layout) = layout();
        let name = Key::open(&layout).unwrap().name();
        fs::remove_file(layout.encryption_key_name()).unwrap();
        assert_eq!(Key::open(&layout).unwrap().name(), name);
        for damaged in ["", "c2hvcnQ=", "no base64!"] {
            fs::write(layout.encryption_key(), damaged).unwrap();
            assert!(matches!(Key::open(&layout), Err(Error::Damaged { .. })), "{damaged:?}");
        }
    }

    #[test]
    fn secrets_are_written_encrypted_and_old_ones_still_read() {
        let key = Key { octets: [7; KEY_OCTETS] };
        let text = key.configuration();
        let configuration: serde_json::Value = serde_json::from_str(&text).unwrap();
        let resource = &configuration["resources"][0];
        assert_eq!(resource["resources"], json!(["secrets"]));
        // The first provider writes, all of them read.
        assert_eq!(resource["providers"][0]["secretbox"]["keys"][0]["name"], json!(key.name()));
        assert_eq!(resource["providers"][1], json!({ "identity": {} }));
    }
}
