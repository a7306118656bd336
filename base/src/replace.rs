//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// How a file is replaced: written aside under its name and `.new`, given away, and renamed into place. A reader sees the
/// old file or the new one; so does the next start after a power cut, unless [`Replace::volatile`] was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Replace {
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    survives: bool,
}

impl Replace {
    /// With these permissions, whatever the process's mask.
    pub const fn with_mode(mode: u32) -> Self {
        Self { mode, uid: None, gid: None, survives: true }
    }

    /// Gives the file to this user and group, which takes the right to do so.
    pub const fn owned_by(mut self, uid: Option<u32>, gid: Option<u32>) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Without waiting for the disk: the file is made anew at each start.
    pub const fn volatile(mut self) -> Self {
        self.survives = false;
        self
    }

    /// Replaces `path`, in a directory that exists.
    ///
    /// # Errors
    /// Those of any step; the old file is then untouched.
    pub fn write(self, path: &Path, content: &[u8]) -> io::Result<()> {
        let aside = aside(path);
        self.write_aside(&aside, content)
            .and_then(|()| fs::rename(&aside, path))
            .inspect_err(|_| {
                // The first error is the one that counts.
                drop(fs::remove_file(&aside));
            })
            .and_then(|()| match path.parent() {
                Some(parent) if self.survives => sync_directory(parent),
                Some(_) | None => Ok(()),
            })
    }

    fn write_aside(self, aside: &Path, content: &[u8]) -> io::Result<()> {
        // Left by a power cut, perhaps by another user: made anew rather than opened.
        match fs::remove_file(aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Nobody else may open it before it has its owner.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(self.mode & 0o700).open(aside)?;
        if self.uid.is_some() || self.gid.is_some() {
            fchown(&file, self.uid, self.gid)?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.write_all(content)?;
        if self.survives { file.sync_all() } else { Ok(()) }
    }
}

/// Beside the file, in the same file system.
fn aside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Makes new names in a directory survive a power cut.
///
/// # Errors
/// It cannot be opened or flushed.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a bare name.
    let is_here = directory.as_os_str().is_empty();
    File::open(if is_here { Path::new(".") } else { directory })?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn replaces_whole_files_with_their_mode_and_leaves_nothing_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.key");
        fs::write(aside(&path), "left by a power cut").unwrap();
        for (permissions, text) in [(0o600, "one"), (0o644, "two"), (0o600, "three")] {
            Replace::with_mode(permissions).write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(mode(&path), permissions);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("folder");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("file"), "old").unwrap();
        assert!(Replace::with_mode(0o600).volatile().write(&taken, b"new").is_err());
        assert_eq!(fs::read_to_string(taken.join("file")).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(Replace::with_mode(0o600).write(&directory.path().join("none/file"), b"").is_err());
    }
}
