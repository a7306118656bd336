//! A disk opened to be erased: discards, zeroes, and reading back what is really on it.
//!
//! It never writes anything but zeroes, and never shares the disk: the disk is opened exclusively, so that one that a file
//! system, an array or a mapped device holds is refused. A regular file may stand for a disk.

mod aligned;
mod ioctl;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use aligned::{Buffer, PIECE, ZEROES};
use rustix::fs::{Advice, fadvise};

/// Why a disk could not be opened to be erased.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    /// `EBUSY` where something holds it.
    #[error("failed to open it for exclusive use")]
    Open(#[source] io::Error),
    /// The kernel or the disk's switch refuses writes.
    #[error("failed to get it writable: it is write-protected")]
    ReadOnly,
    #[error("failed to learn its size")]
    Size(#[source] super::Error),
}

impl Error {
    /// Whether something else holds the disk.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Open(error) if error.raw_os_error() == Some(libc::EBUSY))
    }
}

/// An exclusively opened disk.
#[derive(Debug)]
pub struct Disk {
    /// For requests to the kernel and the disk.
    device: File,
    /// Past the page cache, where the kernel allows it: for zeroes and for reading back.
    direct: Option<File>,
    block_device: bool,
    size: u64,
    sector: u32,
}

impl Disk {
    /// Opens `node` for writing, exclusively.
    pub fn open(node: &Path) -> Result<Self, Error> {
        let flags = libc::O_EXCL | libc::O_CLOEXEC;
        let device =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(node).map_err(|error| {
                match error.raw_os_error() {
                    Some(libc::EROFS | libc::EACCES) => Error::ReadOnly,
                    _ => Error::Open(error),
                }
            })?;
        let block_device = device.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
        if block_device && ioctl::is_read_only(device.as_fd()).unwrap_or(false) {
            return Err(Error::ReadOnly);
        }
        let size = super::size(&device).map_err(Error::Size)?;
        let sector = super::sector_size(&device).map_err(Error::Size)?;
        // Without O_EXCL: the exclusive claim stands already, and it is ours.
        let flags = libc::O_DIRECT | libc::O_CLOEXEC;
        let direct = OpenOptions::new().read(true).write(true).custom_flags(flags).open(node).ok();
        Ok(Self { device, direct, block_device, size, sector })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a logical sector, the unit of all requests.
    pub fn sector(&self) -> u64 {
        u64::from(self.sector)
    }

    /// For requests of the disk's own kind.
    pub fn file(&self) -> &File {
        &self.device
    }

    /// Tells the disk that these bytes are not needed any more; the disk decides what they read as afterwards.
    pub fn discard(&self, range: &Range<u64>) -> io::Result<()> {
        self.ranged(range, ioctl::discard)
    }

    /// Discards with the promise that all copies within the disk are gone as well.
    pub fn discard_securely(&self, range: &Range<u64>) -> io::Result<()> {
        self.ranged(range, ioctl::discard_securely)
    }

    /// Whether discarded bytes are known to read as zero. Kernels since 4.12 say so of none.
    pub fn discard_zeroes(&self) -> bool {
        self.block_device && ioctl::discard_zeroes(self.device.as_fd()).unwrap_or(false)
    }

    /// Makes these bytes zero in the way that suits the disk best (write zeroes, write same, or plain writes).
    pub fn zero_out(&self, range: &Range<u64>) -> io::Result<()> {
        self.ranged(range, ioctl::zero_out)
    }

    fn ranged(
        &self,
        range: &Range<u64>,
        request: impl Fn(std::os::fd::BorrowedFd<'_>, [u64; 2]) -> nix::Result<()>,
    ) -> io::Result<()> {
        if !self.block_device {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let length = range.end.saturating_sub(range.start);
        request(self.device.as_fd(), [range.start, length]).map_err(io::Error::from)
    }

    /// Writes zeroes over these bytes, past the cache where start and end allow it.
    pub fn write_zeroes(&self, range: &Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let piece = ZEROES.bytes().get(..length).unwrap_or_default();
            let written = match &self.direct {
                Some(direct) if self.is_aligned(at, length) => {
                    direct.write_at(piece, at).or_else(|error| match error.kind() {
                        io::ErrorKind::InvalidInput => self.device.write_at(piece, at),
                        _ => Err(error),
                    })
                }
                _ => self.device.write_at(piece, at),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => at += u64::try_from(written).unwrap_or(u64::MAX),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes what was written last, and drops what the kernel remembers of the disk, so that reads are of the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.device.sync_all()?;
        if self.block_device {
            ioctl::drop_buffers(self.device.as_fd())?;
        } else {
            fadvise(&self.device, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// The first of these bytes that is not zero on the disk; none if all are. Call [`Self::flush`] before.
    pub fn first_non_zero(&self, range: &Range<u64>) -> io::Result<Option<u64>> {
        let mut buffer = Buffer::new();
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.bytes(length);
            self.read(piece, at)?;
            if let Some(offset) = piece.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + u64::try_from(offset).unwrap_or_default()));
            }
            at += u64::try_from(length).unwrap_or(u64::MAX);
        }
        Ok(None)
    }

    fn read(&self, piece: &mut [u8], at: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if self.is_aligned(at, piece.len()) => {
                direct.read_exact_at(piece, at).or_else(|error| match error.kind() {
                    io::ErrorKind::InvalidInput => self.device.read_exact_at(piece, at),
                    _ => Err(error),
                })
            }
            _ => self.device.read_exact_at(piece, at),
        }
    }

    fn is_aligned(&self, at: u64, length: usize) -> bool {
        at.is_multiple_of(self.sector()) && (length as u64).is_multiple_of(self.sector())
    }

    /// Makes the kernel forget partitions whose table is gone.
    pub fn forget_partitions(&self) -> Result<(), super::Error> {
        if self.block_device { super::reread_partitions(&self.device) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
