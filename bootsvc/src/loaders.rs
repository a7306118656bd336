//! The iPXE binaries that firmware is given: their public names (spec/sidero.md §3.2) and their bytes.
//!
//! Only the names listed here can be read; no path of a client ever reaches the file system.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

/// Largest loader that is read; real ones are near 1 MB, and a wrong file must not fill the memory.
const MAX_LOADER_LEN: u64 = 16 << 20;

/// How long it is believed that a loader can be read.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loader {
    /// x86-64 UEFI, all drivers of iPXE.
    IpxeX86,
    /// x86-64 UEFI, the firmware's own network driver.
    SnpX86,
    /// arm64 UEFI, all drivers.
    IpxeArm64,
    /// arm64 UEFI, the firmware's driver.
    SnpArm64,
    /// BIOS, the card's UNDI driver.
    Undionly,
}

/// A loader that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    #[error("failed to read loader {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to accept loader {} of {len} bytes: too large", path.display())]
    TooLarge { path: PathBuf, len: u64 },
}

impl Loader {
    pub const ALL: [Self; 5] = [Self::IpxeX86, Self::SnpX86, Self::IpxeArm64, Self::SnpArm64, Self::Undionly];

    /// Name on TFTP, under `/tftp/` on HTTP, and on disk.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::IpxeX86 => "ipxe.efi",
            Self::SnpX86 => "snp.efi",
            Self::IpxeArm64 => "ipxe-arm64.efi",
            Self::SnpArm64 => "snp-arm64.efi",
            Self::Undionly => "undionly.kpxe",
        }
    }

    /// The loader asked for by `name`, its aliases included: some BIOS stacks ask for a name
    /// with `.0` appended.
    pub fn from_file_name(name: &str) -> Option<Self> {
        if name == "undionly.kpxe.0" {
            return Some(Self::Undionly);
        }
        Self::ALL.into_iter().find(|loader| loader.file_name() == name)
    }
}

struct Cached {
    modified: Option<SystemTime>,
    len: u64,
    bytes: Bytes,
}

/// The loaders on disk, each kept in memory once it was asked for, so that a thousand machines
/// booting at once share one copy.
pub struct LoaderStore {
    directory: PathBuf,
    cache: Mutex<HashMap<Loader, Cached>>,
    checked: Mutex<HashMap<Loader, (Instant, bool)>>,
}

impl LoaderStore {
    /// Loaders under `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), cache: Mutex::default(), checked: Mutex::default() }
    }

    /// The directory given to [`Self::new`].
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether `loader` can be served right now, as it was found within the last second.
    pub fn is_servable(&self, loader: Loader) -> bool {
        let mut checked = self.checked.lock();
        let now = Instant::now();
        if let Some((at, servable)) = checked.get(&loader)
            && now.saturating_duration_since(*at) < BELIEVED_FOR
        {
            return *servable;
        }
        // Opened anew, as HTTP does it: what is only in the cache does not count.
        let path = self.directory.join(loader.file_name());
        let servable =
            std::fs::File::open(path).is_ok() && self.read(loader).is_ok_and(|bytes| !bytes.is_empty());
        checked.insert(loader, (now, servable));
        servable
    }

    /// The bytes of `loader`; read again when the file's time or size changed. Blocks for the
    /// read of one small file the first time.
    pub fn read(&self, loader: Loader) -> Result<Bytes, LoaderError> {
        let path = self.directory.join(loader.file_name());
        let read_error = |source| LoaderError::Read { path: path.clone(), source };
        let metadata = std::fs::metadata(&path).map_err(read_error)?;
        let (modified, len) = (metadata.modified().ok(), metadata.len());
        if len > MAX_LOADER_LEN {
            return Err(LoaderError::TooLarge { path, len });
        }
        let mut cache = self.cache.lock();
        if let Some(cached) = cache.get(&loader)
            && cached.modified == modified
            && cached.len == len
        {
            return Ok(cached.bytes.clone());
        }
        let bytes = Bytes::from(std::fs::read(&path).map_err(read_error)?);
        cache.insert(loader, Cached { modified, len, bytes: bytes.clone() });
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_name_finds_its_loader() {
        for loader in Loader::ALL {
            assert_eq!(Loader::from_file_name(loader.file_name()), Some(loader));
        }
        assert_eq!(Loader::from_file_name("undionly.kpxe.0"), Some(Loader::Undionly));
        for bad in ["", "SNP.EFI", "snp.efi ", "../snp.efi", "boot.ipxe"] {
            assert_eq!(Loader::from_file_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn rereads_a_file_that_changed_and_reports_one_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = LoaderStore::new(dir.path());
        assert!(matches!(store.read(Loader::SnpX86), Err(LoaderError::Read { .. })));
        std::fs::write(dir.path().join("snp.efi"), b"one").unwrap();
        assert_eq!(&store.read(Loader::SnpX86).unwrap()[..], b"one");
        std::fs::write(dir.path().join("snp.efi"), b"second").unwrap();
        assert_eq!(&store.read(Loader::SnpX86).unwrap()[..], b"second");
        std::fs::remove_file(dir.path().join("snp.efi")).unwrap();
        assert!(store.read(Loader::SnpX86).is_err());
    }
}
