//! Partition tables: GPT at either end, MBR with its extended partitions.
//!
//! More lenient than the `gpt` crate, which wants a disk that it could write to and a table without a fault: a damaged
//! table is still evidence of data. It must never follow a table out of its disk, nor without end.

use std::ops::Range;

use bloomery_agent_api::contents;

use super::volume::{Ends, ReadAt};

/// Sectors of disks; one written through another controller has another size than it shows now.
const SECTORS: [u64; 2] = [512, 4096];
/// Entries of one table that are looked at; GPT has 128 unless somebody asked for more.
const MOST_ENTRIES: usize = 256;
/// Logical partitions of one MBR.
const MOST_LOGICAL: usize = 64;
/// UEFI 2.10, 5.3.3.
const ENTRY_SIZE: Range<usize> = 128..4097;
const GPT_MAGIC: &[u8] = b"EFI PART";
const MBR_MAGIC: &[u8] = b"\x55\xaa";
/// Of MBR entries: what protects a GPT, and what holds further tables.
const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// `VMware`'s file system lies deeper in its partition than anything else, and is told by the partition's type.
const VMFS_TYPE: [u8; 16] = *b"\x2a\xe0\x31\xaa\x0f\x40\xdb\x11\x95\x90\x00\x0c\x29\x11\xd1\xb8";
const VMFS_MBR_TYPE: u8 = 0xfb;

/// A partition that a table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its bytes, as the table says.
    pub(super) range: Range<u64>,
    /// Its name; MBR has none.
    pub(super) name: String,
    /// A word that follows from its type alone.
    pub(super) word: Option<&'static str>,
}

/// All tables of a volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// Their words.
    pub(super) words: Vec<&'static str>,
    /// Their partitions, each place once for each name.
    pub(super) entries: Vec<Entry>,
    /// There are more than were looked at, or a part of a table could not be read.
    pub(super) incomplete: bool,
}

/// Reads the tables of a volume.
pub(super) fn read(volume: &dyn ReadAt, ends: &Ends) -> Tables {
    let mut tables = Tables::default();
    for sector in SECTORS {
        for header in [Some(sector), ends.size.checked_sub(sector)].into_iter().flatten() {
            if ends.has(header, GPT_MAGIC) {
                tables.words.push(contents::GPT);
                gpt_entries(volume, ends, header, sector, &mut tables);
            }
        }
    }
    mbr(volume, ends, &mut tables);
    tables.words.sort_unstable();
    tables.words.dedup();
    tables
        .entries
        .sort_by(|a, b| (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name)));
    tables.entries.dedup();
    tables
}

/// The entries that the header at this byte names.
fn gpt_entries(volume: &dyn ReadAt, ends: &Ends, header: u64, sector: u64, tables: &mut Tables) {
    let Some(fields) = ends.get(header, 92) else { return tables.incomplete = true };
    let (start, count, size) = (u64_at(fields, 72), u32_at(fields, 80), u32_at(fields, 84));
    let (Some(start), Some(count), Some(size)) = (start, count, size) else { return };
    let (count, size) = (usize::try_from(count).unwrap_or(usize::MAX), usize::try_from(size).unwrap_or(0));
    if !ENTRY_SIZE.contains(&size) {
        return tables.incomplete = true;
    }
    tables.incomplete |= count > MOST_ENTRIES;
    let mut bytes = vec![0; count.min(MOST_ENTRIES) * size];
    // A table that points out of its disk names nothing; the other one may.
    let within = start.checked_mul(sector).filter(|start| {
        start.checked_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).is_some_and(|end| end <= ends.size)
    });
    let Some(start) = within else { return tables.incomplete = true };
    if volume.read_at(start, &mut bytes).is_err() {
        return tables.incomplete = true;
    }
    tables.entries.extend(bytes.chunks_exact(size).filter_map(|entry| gpt_entry(entry, sector)));
}

fn gpt_entry(entry: &[u8], sector: u64) -> Option<Entry> {
    let kind = entry.get(..16)?;
    if kind.iter().all(|byte| *byte == 0) {
        return None;
    }
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let range = first.checked_mul(sector)?..last.checked_add(1)?.checked_mul(sector)?;
    let units = entry.get(56..128)?.chunks_exact(2).filter_map(|pair| pair.first_chunk());
    let units: Vec<u16> = units.map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0).collect();
    let word = (kind == VMFS_TYPE).then_some("vmfs");
    Some(Entry { range, name: String::from_utf16_lossy(&units), word })
}

/// An MBR that names partitions; a boot sector of a file system ends in the same two octets.
fn mbr(volume: &dyn ReadAt, ends: &Ends, tables: &mut Tables) {
    let Some(sector) = ends.get(0, 512) else { return };
    let entries = mbr_entries(sector);
    if entries.is_empty() {
        return;
    }
    if entries.iter().all(|(kind, ..)| *kind == PROTECTIVE) && tables.words.contains(&contents::GPT) {
        return;
    }
    tables.words.push(contents::MBR);
    let unit = volume.sector().max(512);
    for (kind, first, sectors) in entries {
        if EXTENDED.contains(&kind) {
            logical(volume, first, unit, tables);
        } else if kind != PROTECTIVE {
            tables.entries.extend(mbr_entry(kind, first, sectors, unit));
        }
    }
}

/// The chain of tables in an extended partition.
fn logical(volume: &dyn ReadAt, extended: u64, unit: u64, tables: &mut Tables) {
    let mut at = extended;
    for _ in 0..MOST_LOGICAL {
        let mut sector = [0; 512];
        let offset = at.checked_mul(unit).filter(|offset| *offset <= volume.size().saturating_sub(512));
        let Some(offset) = offset else { return tables.incomplete = true };
        if volume.read_at(offset, &mut sector).is_err() {
            return tables.incomplete = true;
        }
        let mut next = None;
        for (kind, first, sectors) in mbr_entries(&sector) {
            if EXTENDED.contains(&kind) {
                next = extended.checked_add(first);
            } else {
                tables
                    .entries
                    .extend(at.checked_add(first).and_then(|it| mbr_entry(kind, it, sectors, unit)));
            }
        }
        match next {
            // Backwards is a circle.
            Some(next) if next > at => at = next,
            _ => return,
        }
    }
    tables.incomplete = true;
}

/// Type, first sector and number of sectors of each entry; none of a sector that is no table.
fn mbr_entries(sector: &[u8]) -> Vec<(u8, u64, u64)> {
    let entries = || sector.get(446..510).unwrap_or_default().chunks_exact(16);
    let plausible = entries().all(|entry| matches!(entry.first(), Some(0 | 0x80)));
    if sector.get(510..512) != Some(MBR_MAGIC) || !plausible {
        return Vec::new();
    }
    let entries = entries().filter_map(|entry| {
        let (kind, first, sectors) = (*entry.get(4)?, u32_at(entry, 8)?, u32_at(entry, 12)?);
        (kind != 0 && sectors != 0).then_some((kind, u64::from(first), u64::from(sectors)))
    });
    entries.collect()
}

fn mbr_entry(kind: u8, first: u64, sectors: u64, unit: u64) -> Option<Entry> {
    let range = first.checked_mul(unit)?..first.checked_add(sectors)?.checked_mul(unit)?;
    Some(Entry { range, name: String::new(), word: (kind == VMFS_MBR_TYPE).then_some("vmfs") })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
