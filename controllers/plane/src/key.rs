//! The plane's key, in a file beside its identity: whoever can read it can write records that the plane believes.
//!
//! Never makes another key where one is that cannot be read: all records would be void, and nobody would know why.

use bloomery_base::Replace;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bloomery_api::trust::{KEY_LEN, SigningKey};

use crate::identity::IdentityError;

/// Name of the file in the plane's directory.
pub const FILE: &str = "key";
/// The boot services, which are of the directory's group, read it too; nobody else.
const MODE: u32 = 0o640;

/// The key of the plane in `directory`; `None` when there is none that can be used.
pub(crate) fn known(directory: &Path) -> Option<SigningKey> {
    let octets: [u8; KEY_LEN] = std::fs::read(directory.join(FILE)).ok()?.try_into().ok()?;
    Some(SigningKey::new(octets))
}

/// The same, made when there is no file yet.
pub(crate) fn establish(directory: &Path) -> Result<SigningKey, IdentityError> {
    let path = directory.join(FILE);
    match std::fs::read(&path) {
        Ok(octets) => match octets.try_into() {
            Ok(octets) => Ok(SigningKey::new(octets)),
            Err(octets) => Err(IdentityError::Key { path, found: octets.len() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => make(directory),
        Err(source) => Err(IdentityError::Read { path, source }),
    }
}

fn make(directory: &Path) -> Result<SigningKey, IdentityError> {
    let path = directory.join(FILE);
    let octets: [u8; KEY_LEN] = rand::random();
    let failed = |source| IdentityError::Write { path: path.clone(), source };
    // Of the group of the directory: the process's own where nobody gave it another.
    let group = std::fs::metadata(directory).map_err(failed)?.gid();
    let replace = Replace::with_mode(MODE);
    if let Err(error) = replace.owned_by(None, Some(group)).write(&path, &octets) {
        if error.kind() != ErrorKind::PermissionDenied {
            return Err(failed(error));
        }
        tracing::warn!(%error, group, "the plane's key keeps the group of this process");
        replace.write(&path, &octets).map_err(failed)?;
    }
    Ok(SigningKey::new(octets))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_not_for_everybody() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(known(directory.path()), None);
        let made = establish(directory.path()).unwrap();
        assert_eq!(establish(directory.path()).unwrap(), made);
        assert_eq!(known(directory.path()), Some(made));
        let permissions = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, MODE);
        assert_ne!(establish(tempfile::tempdir().unwrap().path()).unwrap(), made);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_another_key() {
        let directory = tempfile::tempdir().unwrap();
        for octets in [&b""[..], b"short", &[7; 33]] {
            std::fs::write(directory.path().join(FILE), octets).unwrap();
            assert!(matches!(establish(directory.path()), Err(IdentityError::Key { .. })));
            assert_eq!(known(directory.path()), None);
        }
    }
}
