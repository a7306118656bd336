//! Small files that must be there whole or not at all, with an owner and a mode.

use bloomery_base::Replace;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Only the owner.
pub const PRIVATE: u32 = 0o600;
/// Only the owner.
pub const PRIVATE_DIR: u32 = 0o700;
/// Everybody may look.
pub const PUBLIC_DIR: u32 = 0o755;
/// What is made in the directory gets its group.
const SET_GROUP: u32 = 0o2000;

/// Why a file or directory is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to make the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

/// Replaces a file as a whole ([`Replace`]), and gives it to the user and the group of that number.
///
/// # Errors
/// Any step's; the old file is then untouched.
pub fn replace(path: &Path, content: &[u8], mode: u32, owner: Option<u32>) -> Result<(), Error> {
    let replaced = Replace::with_mode(mode).owned_by(owner, owner).write(path, content);
    replaced.map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Makes a directory (and those above it) if it is not there, and gives it this mode and owner in any case.
pub fn directory(path: &Path, mode: u32, owner: Option<u32>) -> Result<(), Error> {
    let make = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(PUBLIC_DIR).create(parent)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(owner) = owner {
            chown(path, Some(owner), Some(owner))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    make().map_err(|source| Error::Directory { path: path.to_owned(), source })
}

/// Gives a directory an owner and a group; what its owner makes in it is of that group too.
pub fn share(path: &Path, owner: u32, group: u32) -> Result<(), Error> {
    let give = || -> io::Result<()> {
        chown(path, Some(owner), Some(group))?;
        fs::set_permissions(path, Permissions::from_mode(PUBLIC_DIR | SET_GROUP))
    };
    give().map_err(|source| Error::Directory { path: path.to_owned(), source })
}

/// Reads a file; none if it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrects_the_mode_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        directory(&path, PUBLIC_DIR, None).unwrap();
        directory(&path, PRIVATE_DIR, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_missing_file_is_none_and_a_wrong_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_if_there(&dir.path().join("x")).unwrap().is_none());
        assert!(read_if_there(dir.path()).is_err());
    }
}
