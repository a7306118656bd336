//! Writes a kubeconfig to a file that may hold others already.
//!
//! The file is replaced as a whole, readable by its owner only: an interrupted run leaves the former one.

use bloomery_base::Replace;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::merge::{MergeError, merge};

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// There was none.
    Created,
    /// There was one, and it has the new entries too.
    Merged,
}

impl Written {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Merged => "added",
        }
    }
}

/// Creates the file, or merges into it.
pub(super) fn write(path: &Path, name: &str, yaml: &str) -> Result<Written, FileError> {
    // A link is followed, not replaced: dotfiles are often kept elsewhere.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::read_to_string(&target) {
        Ok(existing) => {
            let merged = merge(&existing, yaml, name)
                .map_err(|source| FileError::Merge { path: path.to_owned(), source })?;
            replace(&target, &merged)?;
            Ok(Written::Merged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace(&target, yaml)?;
            Ok(Written::Created)
        }
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Changes a file that is there.
pub(super) fn change(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, MergeError>,
) -> Result<(), FileError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let existing =
        fs::read_to_string(&target).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let changed = change(&existing).map_err(|source| FileError::Merge { path: path.to_owned(), source })?;
    replace(&target, &changed)
}

fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let write = |source| FileError::Write { path: path.to_owned(), source };
    Replace::with_mode(0o600).write(path, text.as_bytes()).map_err(write)
}

/// Why the file was not written; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there but cannot be read.
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Its content does not allow it.
    #[error("failed to merge into {}", path.display())]
    Merge { path: PathBuf, source: MergeError },
    /// It cannot be written.
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const MADE: &str = "clusters: [{name: a, cluster: {certificate-authority-data: x}}]\n";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn is_readable_by_its_owner_only_even_if_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        assert_eq!(write(&path, "a", MADE).unwrap(), Written::Created);
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(write(&path, "a", MADE).unwrap(), Written::Merged);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("diary");
        fs::write(&path, "dear diary").unwrap();
        assert!(matches!(write(&path, "a", MADE).unwrap_err(), FileError::Merge { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");
    }

    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        write(&link, "a", MADE).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains("name: a"));
    }
}
