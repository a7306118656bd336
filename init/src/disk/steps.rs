//! The writes that a decision takes, in the order that survives a power cut after any of them.
//!
//! Knows storage and a way to format, and nothing of the kernel: the tests cut its power. Must never rename before
//! the file system is safe on the disk.

use std::io;
use std::path::Path;

use super::decide::{Decision, MIN_STATE_BYTES, STATE, STATE_NEW};
use super::gpt::{Copies, Entry, Geometry, Guid, Storage, Table, write_table};
use super::{Failure, How};

/// Makes the file system of a partition and returns when it is safe on the disk.
pub(super) type Format<'a> = &'a mut dyn FnMut(&Entry) -> Result<(), Failure>;

/// The disk that is worked on.
pub(super) struct Steps<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) geometry: Geometry,
    /// For messages.
    pub(super) disk: &'a Path,
}

impl Steps<'_> {
    /// Does what was decided; returns the partition to check and mount.
    pub(super) fn carry_out(
        &self,
        decision: Decision,
        copies: &Copies,
        format: Format<'_>,
    ) -> Result<(Entry, How), Failure> {
        match decision {
            Decision::Use(entry) => Ok((entry, How::Found)),
            Decision::Create(entry) => {
                let entry = self.add(copies, &entry, STATE_NEW)?;
                format(&entry)?;
                Ok((self.name_state(&entry)?, How::Created))
            }
            Decision::FinishFormat(entry) => {
                // Both copies must call it unfinished before its sectors change.
                self.write(self.effective(copies)?)?;
                format(&entry)?;
                Ok((self.name_state(&entry)?, How::Finished))
            }
            Decision::FinishRename(entry) => Ok((self.name_state(&entry)?, How::Finished)),
            Decision::Adopt(entry) => Ok((self.add(copies, &entry, STATE)?, How::Adopted)),
            Decision::NoRoom { free_bytes } => {
                Err(Failure::NoRoom { disk: self.disk.into(), free_bytes, needed_bytes: MIN_STATE_BYTES })
            }
            Decision::Damaged(source) => Err(Failure::Table { disk: self.disk.into(), source }),
        }
    }

    /// Writes the entry under `name` into both copies of the table.
    fn add(&self, copies: &Copies, entry: &Entry, name: &str) -> Result<Entry, Failure> {
        let guid = if entry.guid == [0; 16] { random_guid() } else { entry.guid };
        let entry = Entry { guid, name: name.to_owned(), ..entry.clone() };
        self.write(&self.effective(copies)?.with_partition(&entry))?;
        Ok(entry)
    }

    fn name_state(&self, entry: &Entry) -> Result<Entry, Failure> {
        let copies = Copies::read(self.storage, self.geometry);
        self.write(&self.effective(&copies)?.with_name(entry.number, STATE))?;
        Ok(Entry { name: STATE.to_owned(), ..entry.clone() })
    }

    fn effective<'t>(&self, copies: &'t Copies) -> Result<&'t Table, Failure> {
        copies
            .effective()
            .ok_or_else(|| self.failed("read the partition table of", io::ErrorKind::InvalidData.into()))
    }

    fn write(&self, table: &Table) -> Result<(), Failure> {
        write_table(self.storage, self.geometry, table)
            .map_err(|source| self.failed("write the partition table of", source))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> Failure {
        Failure::Disk { what, disk: self.disk.into(), source }
    }
}

/// Makes both copies valid and equal again where they are not.
pub(super) fn heal(storage: &dyn Storage, geometry: Geometry) -> io::Result<()> {
    let copies = Copies::read(storage, geometry);
    match copies.effective() {
        Some(table) if !copies.agree() => write_table(storage, geometry, table),
        _ => Ok(()),
    }
}

/// A GUID of version 4 (RFC 9562 section 5.4), as it lies on the disk.
fn random_guid() -> Guid {
    let mut guid: Guid = rand::random();
    // The version stands in the third field, which is little-endian on the disk.
    guid[7] = guid[7] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}
