//! Writing a table so that a power cut at any instant leaves at least one valid copy.
//!
//! The backup goes first, to the real end of the disk, while the primary still stands as it was; only when the backup
//! is safe does the primary change. Sectors that already hold what they should are not written at all, so that the
//! usual change touches two sectors of the primary: its header and the one with the entry. What firmware and GRUB
//! read of the other partitions never changes.

use std::io;

use super::{Geometry, Storage, Table};

/// Writes both copies of `table`.
pub fn write_table(storage: &dyn Storage, geometry: Geometry, table: &Table) -> io::Result<()> {
    let backup_entries = geometry.offset(table.backup_entries_lba(geometry));
    write_changed(storage, geometry, backup_entries, table.entries())?;
    let backup_header = geometry.offset(geometry.last_lba());
    write_changed(storage, geometry, backup_header, &table.backup_header(geometry))?;
    storage.sync()?;
    write_changed(storage, geometry, geometry.offset(2), table.entries())?;
    write_changed(storage, geometry, geometry.offset(1), &table.primary_header(geometry))?;
    storage.sync()
}

/// Writes those sectors of `bytes` that differ from what is there, one by one: a sector is what disks write whole.
fn write_changed(storage: &dyn Storage, geometry: Geometry, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let size = geometry.sector as usize;
    for (index, wanted) in (0_u64..).zip(bytes.chunks(size)) {
        let at = offset + index * size as u64;
        let mut present = vec![0; size];
        storage.read(at, &mut present)?;
        if present.get(..wanted.len()) != Some(wanted) {
            let mut sector = present;
            if let Some(head) = sector.get_mut(..wanted.len()) {
                head.copy_from_slice(wanted);
            }
            storage.write(at, &sector)?;
        }
    }
    Ok(())
}
