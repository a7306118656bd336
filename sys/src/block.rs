//! Block devices: sizes, partitions by name, telling the kernel about new ones.
//!
//! It never writes to a device, and leaves the meaning of a partition table to the caller. Only [`erase`] writes, and
//! nothing but zeroes.

pub mod erase;
pub mod read;
mod sysfs;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

pub use sysfs::{Device, Partition, Sysfs};

mod ioctl {
    //! The requests of linux/fs.h and linux/blkpg.h.
    #![allow(unsafe_code, reason = "system calls are made in this crate alone")]

    use std::os::fd::{AsRawFd, BorrowedFd};

    /// `BLKPG_ADD_PARTITION`.
    const BLKPG_ADD_PARTITION: i32 = 1;

    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_write_ptr_bad!(blkpg, libc::_IO(0x12, 105), BlkpgArgument);

    /// `struct blkpg_ioctl_arg`.
    #[repr(C)]
    struct BlkpgArgument {
        op: i32,
        flags: i32,
        datalen: i32,
        data: *mut BlkpgPartition,
    }

    /// `struct blkpg_partition`; the names are ignored by the kernel.
    #[repr(C)]
    struct BlkpgPartition {
        start: i64,
        length: i64,
        pno: i32,
        devname: [u8; 64],
        volname: [u8; 64],
    }

    /// Size in bytes.
    pub(super) fn size(device: BorrowedFd<'_>) -> nix::Result<u64> {
        let mut bytes = 0;
        // SAFETY: the descriptor is borrowed for the call, and the kernel writes one 64-bit number, which is what
        // `usize` is on the 64-bit machines that this is built for.
        unsafe { blkgetsize64(device.as_raw_fd(), &raw mut bytes) }?;
        Ok(bytes as u64)
    }

    /// Makes the kernel read the table again; refused while any partition is in use.
    pub(super) fn reread(device: BorrowedFd<'_>) -> nix::Result<()> {
        // SAFETY: the request has no argument.
        unsafe { blkrrpart(device.as_raw_fd()) }.map(drop)
    }

    /// Adds one partition to the kernel's view.
    pub(super) fn add(device: BorrowedFd<'_>, pno: i32, start: i64, length: i64) -> nix::Result<()> {
        let mut partition = BlkpgPartition { start, length, pno, devname: [0; 64], volname: [0; 64] };
        let argument = BlkpgArgument {
            op: BLKPG_ADD_PARTITION,
            flags: 0,
            datalen: i32::try_from(size_of::<BlkpgPartition>()).unwrap_or(i32::MAX),
            data: &raw mut partition,
        };
        // SAFETY: both structures have the layout of the kernel's and live until the call has returned.
        unsafe { blkpg(device.as_raw_fd(), &raw const argument) }.map(drop)
    }
}

/// Why a question about a block device has no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read the size of the device")]
    Size(#[source] io::Error),
    #[error("failed to read the sector size of the device")]
    SectorSize(#[source] io::Error),
    #[error("failed to tell the kernel about partition {number}")]
    AddPartition {
        /// Its number in the table, from 1.
        number: u32,
        source: io::Error,
    },
    #[error("failed to make the kernel read the partition table")]
    Reread(#[source] io::Error),
}

/// Sector size of files that stand for disks, and of nearly all disks.
pub const DEFAULT_SECTOR: u32 = 512;

/// Size in bytes of a block device, or of a file that stands for one.
pub fn size(device: &File) -> Result<u64, Error> {
    let metadata = device.metadata().map_err(Error::Size)?;
    if metadata.file_type().is_block_device() {
        ioctl::size(device.as_fd()).map_err(|errno| Error::Size(errno.into()))
    } else {
        Ok(metadata.len())
    }
}

/// Logical sector size in bytes; [`DEFAULT_SECTOR`] for a file.
pub fn sector_size(device: &File) -> Result<u32, Error> {
    let metadata = device.metadata().map_err(Error::SectorSize)?;
    if metadata.file_type().is_block_device() {
        rustix::fs::ioctl_blksszget(device).map_err(|errno| Error::SectorSize(errno.into()))
    } else {
        Ok(DEFAULT_SECTOR)
    }
}

/// Tells the kernel about one new partition of a disk whose other partitions may be in use. `start` and `length` are
/// in bytes.
pub fn add_partition(disk: &File, number: u32, start: u64, length: u64) -> Result<(), Error> {
    let failed = |source| Error::AddPartition { number, source };
    let narrow = |value: u64| i64::try_from(value).map_err(|_| failed(io::ErrorKind::InvalidInput.into()));
    let pno = i32::try_from(number).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    ioctl::add(disk.as_fd(), pno, narrow(start)?, narrow(length)?).map_err(|errno| failed(errno.into()))
}

/// Makes the kernel read a disk's table again. Refused (`EBUSY`) while any of its partitions is in use.
pub fn reread_partitions(disk: &File) -> Result<(), Error> {
    ioctl::reread(disk.as_fd()).map_err(|errno| Error::Reread(errno.into()))
}

/// The device node of a name in /sys/class/block. A `!` there stands for a `/` (cciss!c0d0).
fn device_node(name: &str) -> PathBuf {
    PathBuf::from("/dev").join(name.replace('!', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_a_disk() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(12_345).unwrap();
        assert_eq!(size(&file).unwrap(), 12_345);
        assert_eq!(sector_size(&file).unwrap(), DEFAULT_SECTOR);
    }

    #[test]
    fn a_file_is_no_disk_for_the_kernel() {
        let file = tempfile::tempfile().unwrap();
        let error = add_partition(&file, 5, 1 << 20, 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "failed to tell the kernel about partition 5");
        assert!(matches!(reread_partitions(&file), Err(Error::Reread(_))));
        assert!(matches!(add_partition(&file, 5, u64::MAX, 1), Err(Error::AddPartition { .. })));
    }
}
