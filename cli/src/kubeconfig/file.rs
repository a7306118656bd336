//! Writes a kubeconfig to a file that may hold others already.
//!
//! The file is replaced as a whole, readable by its owner only: an interrupted run leaves the former one.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use bloomery_base::Replace;

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
pub(super) fn write(path: &Path, name: &str, yaml: &str) -> anyhow::Result<Written> {
    // A link is followed, not replaced: dotfiles are often kept elsewhere.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::read_to_string(&target) {
        Ok(existing) => {
            let merged = merge(&existing, yaml, name);
            replace(&target, &merged.with_context(|| format!("failed to merge into {}", path.display()))?)?;
            Ok(Written::Merged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace(&target, yaml)?;
            Ok(Written::Created)
        }
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// Changes a file that is there.
pub(super) fn change(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, MergeError>,
) -> anyhow::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let shown = path.display();
    let existing = fs::read_to_string(&target).with_context(|| format!("failed to read {shown}"))?;
    let changed = change(&existing).with_context(|| format!("failed to merge into {shown}"))?;
    replace(&target, &changed)
}

fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = Replace::with_mode(0o600).write(path, text.as_bytes());
    written.with_context(|| format!("failed to write {}", path.display()))
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
        let error = write(&path, "a", MADE).unwrap_err();
        assert!(
            error.to_string().starts_with("failed to merge into") && error.is::<MergeError>(),
            "{error:#}"
        );
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
