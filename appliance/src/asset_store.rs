//! The files that Environments can name by `file:` URLs, as they come in pieces.
//!
//! Never shows a file before all of it is there, synced and of the announced SHA-512; never a path outside of
//! its directory; never fills the disk that the plane itself needs.

use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bloomery_pairing::wire::{Asset, LARGEST_ASSET_BYTES};
use sha2::{Digest, Sha512};

/// Longest name: room for a release and an architecture.
const LONGEST_NAME: usize = 128;
/// Bytes that stay free for etcd and the logs, which share the disk.
const RESERVE: u64 = 256 << 20;
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Why an asset is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The name could lead elsewhere, or is too long.
    #[error(
        "failed to use the name {0:?}: want at most {LONGEST_NAME} letters, digits, dots, dashes and underscores, a letter or digit first"
    )]
    Name(String),
    #[error("failed to find asset {0:?}")]
    Absent(String),
    #[error("failed to add a piece at {offset}: {received} bytes are there")]
    Offset {
        offset: u64,
        /// Where one could be added.
        received: u64,
    },
    #[error("failed to take more than {LARGEST_ASSET_BYTES} bytes, the most that Environments take")]
    TooLarge,
    #[error(
        "failed to find room: {free} bytes are free, of which {RESERVE} are kept for the plane itself; delete assets \
         that no Environment names any more"
    )]
    NoSpace {
        /// Bytes free.
        free: u64,
    },
    /// Something else came than was announced; it is gone.
    #[error("failed to accept the whole: it has SHA-512 {actual}")]
    Mismatch { actual: String },
    #[error("failed to {operation} {}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// The directory; writes to it take turns.
#[derive(Debug, Clone)]
pub(crate) struct AssetStore {
    directory: PathBuf,
    turn: Arc<Mutex<()>>,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::File { operation, path: path.to_owned(), source }
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl AssetStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, turn: Arc::default() }
    }

    /// File and part of a name.
    fn paths(&self, name: &str) -> Result<(PathBuf, PathBuf), StoreError> {
        if !is_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        Ok((self.directory.join(name), self.directory.join(format!(".{name}.part"))))
    }

    fn asset(&self, name: &str, size: u64) -> Asset {
        let url = format!("file://{}/{name}", self.directory.display());
        Asset { name: name.to_owned(), size, url }
    }

    /// All that are whole, by name.
    pub(crate) fn list(&self) -> Result<Vec<Asset>, StoreError> {
        let mut assets = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed("list", &self.directory))? {
            let entry = entry.map_err(failed("list", &self.directory))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Not followed: a link is no asset.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() && is_name(&name) {
                assets.push(self.asset(&name, metadata.len()));
            }
        }
        assets.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(assets)
    }

    /// Adds a piece; says how much is there.
    pub(crate) fn add(&self, name: &str, offset: u64, piece: &[u8]) -> Result<u64, StoreError> {
        let (_, part) = self.paths(name)?;
        let _turn = self.turn.lock();
        let end = offset.saturating_add(piece.len() as u64);
        if end > LARGEST_ASSET_BYTES {
            return Err(StoreError::TooLarge);
        }
        let space = rustix::fs::statvfs(&self.directory).map_err(io::Error::from);
        let space = space.map_err(failed("look at the space of", &self.directory))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < RESERVE.saturating_add(piece.len() as u64) {
            return Err(StoreError::NoSpace { free });
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(offset == 0);
        let mut file = options.open(&part).map_err(failed("open", &part))?;
        let received = file.seek(SeekFrom::End(0)).map_err(failed("seek in", &part))?;
        if received != offset {
            return Err(StoreError::Offset { offset, received });
        }
        file.write_all(piece).map_err(failed("write", &part))?;
        Ok(end)
    }

    /// Puts a file in place of which all pieces are there.
    pub(crate) fn complete(&self, name: &str, sha512: &str) -> Result<Asset, StoreError> {
        let (path, part) = self.paths(name)?;
        let _turn = self.turn.lock();
        let mut file = match File::open(&part) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Absent(name.to_owned()));
            }
            Err(error) => return Err(failed("open", &part)(error)),
        };
        let (actual, size) = digest(&mut file).map_err(failed("read", &part))?;
        if !actual.eq_ignore_ascii_case(sha512) {
            fs::remove_file(&part).map_err(failed("remove", &part))?;
            return Err(StoreError::Mismatch { actual });
        }
        file.sync_all().map_err(failed("sync", &part))?;
        fs::rename(&part, &path).map_err(failed("put in place", &path))?;
        let directory = File::open(&self.directory).map_err(failed("open", &self.directory))?;
        directory.sync_all().map_err(failed("sync", &self.directory))?;
        Ok(self.asset(name, size))
    }

    /// Removes a file, whole or in part.
    pub(crate) fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (path, part) = self.paths(name)?;
        let _turn = self.turn.lock();
        let mut found = false;
        for path in [path, part] {
            match fs::remove_file(&path) {
                Ok(()) => found = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("remove", &path)(error)),
            }
        }
        if found { Ok(()) } else { Err(StoreError::Absent(name.to_owned())) }
    }
}

/// SHA-512 in hexadecimal, and size.
fn digest(file: &mut File) -> io::Result<(String, u64)> {
    let (mut hasher, mut size, mut buffer) = (Sha512::new(), 0, vec![0; CHUNK]);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((format!("{:x}", hasher.finalize()), size)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_and_ordinary() {
        for (name, good) in [
            ("vmlinuz-1.13.0_amd64", true),
            ("A", true),
            ("", false),
            (".", false),
            ("..", false),
            (".part", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
            ("a\0", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
        assert!(!is_name(&"a".repeat(LONGEST_NAME + 1)));
    }
}
