//! Known data on a machine's disk: written before it boots, looked for after it was wiped.
//!
//! Only raw disk files of machines that are off are written; reading is always safe.

mod signature;

use anyhow::{Context, Result};
use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

/// How much of either end is written and looked at: everything that partition tables and RAID or LVM signatures use.
pub const END: u64 = 1 << 20;
/// A byte that no format begins or ends with.
const FILLER: u8 = 0xb5;
const SECTOR: u64 = 512;

/// What the disk looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A partition table at either end, with a partition full of data at either end.
    Partitioned,
    /// A member of a Linux software RAID (md, version 1.2).
    MdMember,
    /// A physical volume of LVM2.
    LvmVolume,
}

/// What was found at the ends: the place of the first byte that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// In the first [`END`] bytes.
    pub first: Option<u64>,
    /// In the last [`END`] bytes.
    pub last: Option<u64>,
}

impl Ends {
    /// Whether both ends read as zeros.
    pub fn are_zero(self) -> bool {
        self == Self { first: None, last: None }
    }
}

/// Fills both ends of the disk in `path` and writes `known` over that.
///
/// # Errors
/// The file is missing, too small or cannot be written.
pub fn write(path: &Path, known: Known) -> Result<()> {
    let mut disk = OpenOptions::new().read(true).write(true).open(path);
    let disk = disk.as_mut().map_err(|error| anyhow::anyhow!("{error}"));
    let disk = disk.with_context(|| format!("failed to open {}", path.display()))?;
    let length = disk.seek(SeekFrom::End(0)).context("failed to measure the disk")?;
    let filler = vec![FILLER; usize::try_from(END).context("failed to measure an end")?];
    put(disk, 0, &filler)?;
    put(disk, length.saturating_sub(END), &filler)?;
    match known {
        Known::Partitioned => partition(disk, length)?,
        Known::MdMember => put(disk, signature::MD_OFFSET, &signature::md(length / SECTOR))?,
        Known::LvmVolume => put(disk, signature::LVM_OFFSET, &signature::lvm(length))?,
    }
    disk.sync_all().context("failed to write the disk")
}

/// Looks at both ends of the disk in `path`.
///
/// # Errors
/// The file is missing or cannot be read.
pub fn ends(path: &Path) -> Result<Ends> {
    let mut disk = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let length = disk.seek(SeekFrom::End(0)).context("failed to measure the disk")?;
    let mut first_in = |offset: u64| -> Result<Option<u64>> {
        let mut end = vec![0; usize::try_from(END.min(length)).context("failed to measure an end")?];
        disk.seek(SeekFrom::Start(offset)).context("failed to go to an end")?;
        disk.read_exact(&mut end).context("failed to read an end")?;
        Ok(end.iter().position(|byte| *byte != 0).map(|index| offset + index as u64))
    };
    Ok(Ends { first: first_in(0)?, last: first_in(length.saturating_sub(END))? })
}

fn put(disk: &mut File, offset: u64, bytes: &[u8]) -> Result<()> {
    disk.seek(SeekFrom::Start(offset)).context("failed to go to a place on the disk")?;
    disk.write_all(bytes).context("failed to write to the disk")
}

fn partition(disk: &mut File, length: u64) -> Result<()> {
    let sectors = u32::try_from(length / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(disk).context("failed to write the MBR")?;
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(disk, None).context("failed to make a partition table")?;
    let each = length / 2 - 2 * END;
    for name in ["data", "more"] {
        table
            .add_partition(name, each, partition_types::LINUX_FS, 0, None)
            .context("failed to make a partition")?;
    }
    table.write().map(drop).context("failed to write the partition table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SIZE: u64 = 64 << 20;

    fn disk() -> tempfile::NamedTempFile {
        let disk = tempfile::NamedTempFile::new().expect("a temporary file");
        disk.as_file().set_len(SIZE).expect("a size");
        disk
    }

    /// What udev would say of it.
    fn probe(disk: &Path) -> String {
        let output =
            Command::new("/sbin/blkid").args(["-p", "-o", "export"]).arg(disk).output().expect("blkid");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn known_data_is_what_tools_take_it_for_and_is_seen_at_both_ends() {
        for (known, line) in [
            (Known::Partitioned, "PTTYPE=gpt"),
            (Known::MdMember, "TYPE=linux_raid_member"),
            (Known::LvmVolume, "TYPE=LVM2_member"),
        ] {
            let disk = disk();
            assert!(ends(disk.path()).expect("two ends").are_zero());
            write(disk.path(), known).expect("known data");
            let found = ends(disk.path()).expect("two ends");
            assert!(found.first.is_some_and(|place| place < END), "{known:?}: {found:?}");
            assert!(found.last.is_some_and(|place| place >= SIZE - END), "{known:?}: {found:?}");
            let said = probe(disk.path());
            assert!(said.lines().any(|said| said == line), "{known:?}: {said}");
        }
    }

    #[test]
    fn one_byte_at_either_end_is_found() {
        for place in [0, END - 1, SIZE - END, SIZE - 1] {
            let mut disk = disk();
            put(disk.as_file_mut(), place, &[1]).expect("a byte");
            let found = ends(disk.path()).expect("two ends");
            assert_eq!(found.first.or(found.last), Some(place));
            assert!(!found.are_zero());
        }
        let mut disk = disk();
        put(disk.as_file_mut(), END, &[1]).expect("a byte");
        assert!(ends(disk.path()).expect("two ends").are_zero());
    }
}
