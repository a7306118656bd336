//! A disk opened to be read, and for nothing else.
//!
//! It is never opened for writing, so the kernel refuses every write through its descriptor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Why a disk cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to open it for reading")]
    Open(#[source] io::Error),
    /// Its size or that of its sectors.
    #[error("failed to learn its size")]
    Size(#[source] super::Error),
}

/// A disk that can only be read. A regular file may stand for one.
#[derive(Debug)]
pub struct Reader {
    file: File,
    size: u64,
    sector: u32,
}

impl Reader {
    /// Opens `node`. The kernel's cache of the disk is dropped, so that reads come from the disk.
    pub fn open(node: &Path) -> Result<Self, Error> {
        // O_NONBLOCK: a drive without a medium answers at once. It changes nothing about reads of a disk.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(node).map_err(Error::Open)?;
        let size = super::size(&file).map_err(Error::Size)?;
        let sector = super::sector_size(&file).map_err(Error::Size)?;
        // Clean pages only; nothing is written back for it, and a refusal costs freshness alone.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Self { file, size, sector })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a logical sector.
    pub fn sector(&self) -> u64 {
        u64::from(self.sector)
    }

    /// Fills the buffer from this byte on.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn the_kernel_refuses_to_write_through_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"data").unwrap();
        let reader = Reader::open(file.path()).unwrap();
        assert_eq!((reader.size(), reader.sector()), (4, 512));
        let error = reader.file.write_at(b"x", 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", reader.file.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        let flags = i32::from_str_radix(&flags, 8).unwrap();
        assert_eq!(flags & libc::O_ACCMODE, libc::O_RDONLY);
        let mut buffer = [0; 2];
        reader.read_exact_at(&mut buffer, 2).unwrap();
        assert_eq!(&buffer, b"ta");
        assert!(reader.read_exact_at(&mut buffer, 3).is_err());
        assert!(matches!(Reader::open(Path::new("/nonexistent/sda")), Err(Error::Open(_))));
    }
}
