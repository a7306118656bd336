//! The GUID partition table of UEFI 2.10 section 5.3: reading, checking and changing one entry of it.
//!
//! Must never change a byte of another partition's entry, and never write one copy before the other one is safe on
//! the disk.
//!
//! The `gpt` crate is not used for this (only to check ours in the tests): it decodes and re-encodes all entries and
//! renumbers them, writes both copies of the entries before either header and without a barrier, and asserts on
//! tables it does not know.

mod codec;
mod write;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use codec::{Entry, Guid, Invalid, Table};
pub use write::write_table;

/// What a table is read from and written to: a disk, or a file that stands for one.
pub trait Storage {
    /// Reads exactly.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes exactly.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written is safe from a power cut.
    fn sync(&self) -> io::Result<()>;
}

impl Storage for File {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The shape of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes per logical sector.
    pub sector: u32,
    /// Number of logical sectors.
    pub sectors: u64,
}

impl Geometry {
    /// The last sector, where the backup header belongs.
    pub fn last_lba(self) -> u64 {
        self.sectors.saturating_sub(1)
    }

    /// The byte at which a sector begins.
    pub fn offset(self, lba: u64) -> u64 {
        lba.saturating_mul(u64::from(self.sector))
    }
}

/// Both copies of a disk's table as they were read.
#[derive(Debug)]
pub struct Copies {
    /// The shape of the disk.
    pub geometry: Geometry,
    /// The copy at sector 1.
    pub primary: Result<Table, Invalid>,
    /// The copy at the very last sector. An image that was just written to a larger disk has none there.
    pub backup: Result<Table, Invalid>,
}

impl Copies {
    /// Reads both copies; each may be invalid for a reason of its own.
    pub fn read(storage: &dyn Storage, geometry: Geometry) -> Self {
        Self {
            geometry,
            primary: Table::read(storage, geometry, 1),
            backup: Table::read(storage, geometry, geometry.last_lba()),
        }
    }

    /// The table that counts (UEFI 2.10 section 5.3.2: the primary if it is valid, else the backup).
    pub fn effective(&self) -> Option<&Table> {
        self.primary.as_ref().or(self.backup.as_ref()).ok()
    }

    /// Whether the copies are where they belong and hold the same.
    pub fn agree(&self) -> bool {
        match (&self.primary, &self.backup) {
            (Ok(primary), Ok(backup)) => {
                primary.says_the_same(backup)
                    && [primary, backup].iter().all(|copy| copy.covers(self.geometry))
            }
            _ => false,
        }
    }
}
