//! The file that keeps the secret across boots: one line, twelve symbols, readable by its owner only.
//!
//! PID 1 makes it at the first boot and replaces it when a code is re-issued. It is
//! replaced as a whole (written aside, synced, renamed), so a power cut leaves the old or the new secret,
//! never half of one.

use bloomery_base::Replace;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::secret::{RandomError, Secret, SecretError};

/// Only the owner may read or write it.
const FILE_MODE: u32 = 0o600;
/// The secret is twelve bytes; more than this is some other file.
const MAX_FILE_BYTES: u64 = 128;

/// Reads the secret.
///
/// # Errors
/// When the file cannot be read or holds something else; [`SecretFileError::is_missing`] tells these apart.
pub fn load(path: &Path) -> Result<Secret, SecretFileError> {
    let read = |source| SecretFileError::Read { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    File::open(path).map_err(read)?.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(read)?;
    text.parse().map_err(|source| SecretFileError::Parse { path: path.to_owned(), source })
}

/// Writes the secret atomically.
///
/// # Errors
/// When any step fails; the former file is then untouched.
pub fn store(path: &Path, secret: &Secret) -> Result<(), SecretFileError> {
    let line = Zeroizing::new(format!("{}\n", secret.expose().as_str()));
    replace(path, line.as_bytes()).map_err(|source| SecretFileError::Write { path: path.to_owned(), source })
}

/// Replaces a file as a whole, readable by its owner only.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    Replace::with_mode(FILE_MODE).write(path, content)
}

/// Reads the secret, or makes and writes one if there is no file.
///
/// # Errors
/// When the file exists but is unreadable or damaged, or cannot be made. A damaged file is not replaced here:
/// that makes known codes worthless, so the caller decides, and says so.
pub fn load_or_create(path: &Path) -> Result<Secret, SecretFileError> {
    match load(path) {
        Err(error) if error.is_missing() => {
            let secret = Secret::generate().map_err(|source| SecretFileError::Generate { source })?;
            store(path, &secret)?;
            Ok(secret)
        }
        other => other,
    }
}

/// Why the secret file could not be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SecretFileError {
    #[error("failed to read the pairing secret from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to parse the pairing secret in {}", path.display())]
    Parse { path: PathBuf, source: SecretError },
    #[error("failed to write the pairing secret to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to make a pairing secret")]
    Generate { source: RandomError },
}

impl SecretFileError {
    /// Whether there simply is no file yet.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use std::fs;

    use super::*;

    #[test]
    fn is_made_once_and_kept_with_owner_only_rights() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pairing-secret");
        assert!(load(&path).unwrap_err().is_missing());
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", made.expose().as_str()));
    }

    #[test]
    fn replaces_the_secret_over_leftovers_and_leaves_nothing_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pairing-secret");
        fs::write(directory.path().join("pairing-secret.new"), "half").unwrap();
        let first = load_or_create(&path).unwrap();
        let second = Secret::generate().unwrap();
        store(&path, &second).unwrap();
        assert_ne!(load(&path).unwrap(), first);
        assert_eq!(load(&path).unwrap(), second);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pairing-secret");
        for damaged in ["", "not a secret!", "0123456789A", &"0".repeat(4096)] {
            fs::write(&path, damaged).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, SecretFileError::Parse { .. }), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_write_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing").join("pairing-secret");
        let error = load_or_create(&path).unwrap_err();
        assert!(matches!(error, SecretFileError::Write { .. }), "{error:?}");
    }
}
