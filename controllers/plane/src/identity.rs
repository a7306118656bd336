//! This plane's identity and how far its state had got, in a file that no copy of the objects brings along.
//!
//! Never leaves half a file: it is written aside, flushed and renamed.

use bloomery_base::Replace;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bloomery_api::Plane;
use bloomery_api::plane::Seen;
use serde::{Deserialize, Serialize};

use crate::witness::Witness;

/// Name of the file in the plane's directory.
pub const FILE: &str = "id";
/// The boot services read it too.
const MODE: u32 = 0o644;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// This plane's identity.
    pub id: String,
    /// The highest epoch that this plane has had; 0 before the first.
    pub epoch: i64,
    /// The highest revision of etcd that this plane has seen: one that is lower later was restored.
    pub revision: u64,
    /// Since when and why this plane has stopped itself: a restore of the Plane object must not end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<String>,
    /// What it wrote last into the Plane object.
    #[serde(flatten)]
    pub witness: Witness,
}

/// What those who only read the file need of it; what an older release did not write counts as nothing.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Known {
    pub(crate) id: String,
    #[serde(default)]
    epoch: i64,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    pub(crate) fenced: Option<String>,
    #[serde(flatten)]
    witness: Witness,
}

impl Known {
    /// How far the controllers have seen the state: before they noticed a restore, nothing that it says counts.
    pub(crate) fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, revision: self.revision }
    }

    /// False when `plane`, of which this plane is the holder, does not hold what was written last, or was raised since:
    /// the controllers let the file follow when the plane that acted before is known to have stopped.
    pub(crate) fn knows(&self, plane: &Plane) -> bool {
        plane.spec.epoch == self.epoch && self.witness.knows(plane.witness())
    }
}

impl Record {
    /// How far it has seen the state.
    pub fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, revision: self.revision }
    }
}

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum IdentityError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to understand {}; remove it to make this plane a new one, which then does not act", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error(
        "failed to use {}: it has {found} octets and not 32; put it back, or remove it: then every wipe must be confirmed",
        path.display()
    )]
    Key { path: PathBuf, found: usize },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// A new identity: 128 random bits in hexadecimal.
pub(crate) fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Digits that nobody has used before, for the object and as names of records: 64 random bits in hexadecimal.
pub fn digits() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What the file in `directory` says to those who only read it; `None` when it cannot be told.
pub(crate) fn known(directory: &Path) -> Option<Known> {
    serde_json::from_slice(&std::fs::read(directory.join(FILE)).ok()?).ok()
}

/// What the file in `directory` says; `None` when there is none.
pub(crate) fn load(directory: &Path) -> Result<Option<Record>, IdentityError> {
    let path = directory.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Read { path, source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| IdentityError::Parse { path, source })
}

/// Writes the file; when this returns it survives a power cut.
pub(crate) fn store(directory: &Path, record: &Record) -> Result<(), IdentityError> {
    let path = directory.join(FILE);
    // Numbers and texts always have a JSON form.
    let mut text = serde_json::to_vec(record).unwrap_or_default();
    text.push(b'\n');
    Replace::with_mode(MODE)
        .write(&path, &text)
        .map_err(|source| IdentityError::Write { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_readable_by_others() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()).unwrap(), None);
        let witness = Witness::of_held("a").begun("b");
        let mut record =
            Record { id: fresh(), epoch: 3, revision: 77, fenced: Some("moved".to_owned()), witness };
        store(directory.path(), &record).unwrap();
        record.revision = 78;
        store(directory.path(), &record).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(record));
        let file = directory.path().join(FILE);
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_new_identity() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"id\":1}", "{\"id\":\"a\",\"epoch\":1}"] {
            std::fs::write(directory.path().join(FILE), text).unwrap();
            let error = load(directory.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Parse { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_of_an_older_release_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), r#"{"id":"a","epoch":3,"revision":7}"#).unwrap();
        let record = load(directory.path()).unwrap().unwrap();
        assert_eq!(record.witness, Witness::default());
        assert!(record.witness.knows("") && record.witness.knows("anything"));
        store(directory.path(), &record).unwrap();
        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(text.trim_end(), r#"{"id":"a","epoch":3,"revision":7}"#);
    }

    #[test]
    fn identities_differ() {
        assert_ne!(fresh(), fresh());
        assert_eq!(fresh().len(), 32);
    }
}
