//! Bytes to tables and back. Must never trust a length, a position or a count that it read.

use super::{Geometry, Storage};

/// "EFI PART".
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Size of the header of revision 1.0, the part that its checksum covers.
const HEADER_SIZE: usize = 92;
/// The only entry size in use.
const ENTRY_SIZE: usize = 128;
/// Most entries that are read; the standard's number is 128.
const MAX_ENTRIES: u32 = 1024;
/// UTF-16 units of a name.
const NAME_UNITS: usize = 36;
/// CRC-32 as UEFI uses it (the one of Ethernet and zlib).
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, first three fields little-endian.
const LINUX_FILESYSTEM: Guid =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A GUID as it lies on the disk.
pub type Guid = [u8; 16];

/// Why a copy of the table is not valid.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("failed to read the partition table")]
    Read(#[source] std::io::Error),
    #[error("failed to find a partition table: the signature is missing")]
    Signature,
    #[error("failed to read the partition table: the header's checksum is wrong")]
    HeaderChecksum,
    #[error("failed to read the partition table: the checksum of the entries is wrong")]
    EntriesChecksum,
    #[error("failed to read the partition table: {0}")]
    Field(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number, from 1.
    pub number: u32,
    /// The partition's own GUID.
    pub guid: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector, included.
    pub last: u64,
    pub name: String,
}

impl Entry {
    pub fn sectors(&self) -> u64 {
        self.last.saturating_add(1).saturating_sub(self.first)
    }

    /// Whether it shares a sector with `first..=last`.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }
}

/// One valid copy of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Where this copy's header lies.
    pub header_lba: u64,
    pub disk_guid: Guid,
    /// First sector that partitions may use.
    pub first_usable: u64,
    /// Last sector that partitions may use.
    pub last_usable: u64,
    /// The entries, byte for byte.
    entries: Vec<u8>,
    alternate: u64,
    entries_lba: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).unwrap_or_default()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

impl Table {
    /// Reads the copy whose header lies at `lba` and checks all of it.
    pub fn read(storage: &dyn Storage, geometry: Geometry, lba: u64) -> Result<Self, Invalid> {
        let mut sector = vec![0; geometry.sector as usize];
        storage.read(geometry.offset(lba), &mut sector).map_err(Invalid::Read)?;
        let (mut table, length, checksum) = Self::parse_header(&sector, geometry, lba)?;
        let mut entries = vec![0; length];
        storage.read(geometry.offset(table.entries_lba), &mut entries).map_err(Invalid::Read)?;
        if CRC.checksum(&entries) != checksum {
            return Err(Invalid::EntriesChecksum);
        }
        table.entries = entries;
        Ok(table)
    }

    /// The header, the entries' length in bytes, and their checksum.
    fn parse_header(sector: &[u8], geometry: Geometry, lba: u64) -> Result<(Self, usize, u32), Invalid> {
        let header = sector.get(..HEADER_SIZE).ok_or(Invalid::Field("the sectors are too small"))?;
        if !header.starts_with(SIGNATURE) {
            return Err(Invalid::Signature);
        }
        if u32_at(header, 12) as usize != HEADER_SIZE {
            return Err(Invalid::Field("the header's size is unknown"));
        }
        let mut summed = header.to_vec();
        put(&mut summed, 16, &[0; 4]);
        if CRC.checksum(&summed) != u32_at(header, 16) {
            return Err(Invalid::HeaderChecksum);
        }
        let table = Self {
            header_lba: u64_at(header, 24),
            alternate: u64_at(header, 32),
            first_usable: u64_at(header, 40),
            last_usable: u64_at(header, 48),
            disk_guid: guid_at(header, 56),
            entries_lba: u64_at(header, 72),
            entries: Vec::new(),
        };
        let count = u32_at(header, 80);
        if u32_at(header, 84) as usize != ENTRY_SIZE || !(1..=MAX_ENTRIES).contains(&count) {
            return Err(Invalid::Field("number or size of the entries is unknown"));
        }
        let length = count as usize * ENTRY_SIZE;
        table.check_positions(geometry, lba, length)?;
        Ok((table, length, u32_at(header, 88)))
    }

    fn check_positions(&self, geometry: Geometry, lba: u64, length: usize) -> Result<(), Invalid> {
        let sectors = (length as u64).div_ceil(u64::from(geometry.sector));
        if self.header_lba != lba {
            return Err(Invalid::Field("the header belongs elsewhere"));
        }
        if self.first_usable < 2 + sectors {
            return Err(Invalid::Field("partitions may lie over the entries"));
        }
        if self.first_usable > self.last_usable || self.last_usable > geometry.last_lba() {
            return Err(Invalid::Field("the usable sectors are not on the disk"));
        }
        let end = self.entries_lba.checked_add(sectors).ok_or(Invalid::Field("the entries have no end"))?;
        let before = self.entries_lba >= 2 && end <= self.first_usable;
        let after = self.entries_lba > self.last_usable && end <= geometry.sectors;
        if before || after { Ok(()) } else { Err(Invalid::Field("the entries are not where entries belong")) }
    }

    /// The used entries, in their order in the table.
    pub fn partitions(&self) -> Vec<Entry> {
        (1..)
            .zip(self.entries.chunks_exact(ENTRY_SIZE))
            .filter(|(_, raw)| guid_at(raw, 0) != [0; 16])
            .map(|(number, raw)| Entry {
                number,
                guid: guid_at(raw, 16),
                first: u64_at(raw, 32),
                last: u64_at(raw, 40),
                name: decode_name(raw.get(56..).unwrap_or_default()),
            })
            .collect()
    }

    /// The lowest number of an entry that is not used.
    pub fn free_number(&self) -> Option<u32> {
        (1..)
            .zip(self.entries.chunks_exact(ENTRY_SIZE))
            .find(|(_, raw)| guid_at(raw, 0) == [0; 16])
            .map(|(n, _)| n)
    }

    /// The same table with one more partition of Linux data. All other entries stay as they are, byte for byte.
    #[must_use]
    pub fn with_partition(&self, entry: &Entry) -> Self {
        let mut raw = [0; ENTRY_SIZE];
        put(&mut raw, 0, &LINUX_FILESYSTEM);
        put(&mut raw, 16, &entry.guid);
        put(&mut raw, 32, &entry.first.to_le_bytes());
        put(&mut raw, 40, &entry.last.to_le_bytes());
        put(&mut raw, 56, &encode_name(&entry.name));
        self.with_raw(entry.number, 0, &raw)
    }

    /// The same table with one partition renamed.
    #[must_use]
    pub fn with_name(&self, number: u32, name: &str) -> Self {
        self.with_raw(number, 56, &encode_name(name))
    }

    fn with_raw(&self, number: u32, at: usize, bytes: &[u8]) -> Self {
        let mut table = self.clone();
        if let Some(index) = number.checked_sub(1) {
            put(&mut table.entries, index as usize * ENTRY_SIZE + at, bytes);
        }
        table
    }

    /// Whether both hold the same partitions on the same disk.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.disk_guid == other.disk_guid && self.entries == other.entries
    }

    /// Whether this copy and the one it names lie at the two ends of the whole disk.
    pub fn covers(&self, geometry: Geometry) -> bool {
        let ends = [self.header_lba.min(self.alternate), self.header_lba.max(self.alternate)];
        ends == [1, geometry.last_lba()] && self.last_usable == self.last_usable_of(geometry)
    }

    /// The sectors of the other copy that this one names, where they lie among those for partitions: an image that
    /// was written to a larger disk still has its backup at its own end.
    pub fn stray_copy(&self, geometry: Geometry) -> Option<(u64, u64)> {
        let last_usable = self.last_usable_of(geometry);
        (self.first_usable..=last_usable)
            .contains(&self.alternate)
            .then(|| (self.alternate.saturating_sub(self.entry_sectors(geometry)), self.alternate))
    }

    /// The entries, as they are written.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// Sectors that the entries take.
    pub fn entry_sectors(&self, geometry: Geometry) -> u64 {
        (self.entries.len() as u64).div_ceil(u64::from(geometry.sector))
    }

    /// The last sector for partitions once the backup lies at the end of the disk.
    pub fn last_usable_of(&self, geometry: Geometry) -> u64 {
        geometry.last_lba().saturating_sub(self.entry_sectors(geometry) + 1)
    }

    /// The header sector of the primary copy, for this disk's full size.
    pub fn primary_header(&self, geometry: Geometry) -> Vec<u8> {
        self.header(geometry, 1, geometry.last_lba(), 2)
    }

    /// The header sector of the backup copy.
    pub fn backup_header(&self, geometry: Geometry) -> Vec<u8> {
        self.header(geometry, geometry.last_lba(), 1, self.backup_entries_lba(geometry))
    }

    /// Where the backup's entries begin: right before its header.
    pub fn backup_entries_lba(&self, geometry: Geometry) -> u64 {
        geometry.last_lba().saturating_sub(self.entry_sectors(geometry))
    }

    fn header(&self, geometry: Geometry, own: u64, alternate: u64, entries_lba: u64) -> Vec<u8> {
        let mut sector = vec![0; geometry.sector as usize];
        let count = u32::try_from(self.entries.len() / ENTRY_SIZE).unwrap_or(MAX_ENTRIES);
        put(&mut sector, 0, SIGNATURE);
        put(&mut sector, 8, &0x0001_0000_u32.to_le_bytes());
        put(&mut sector, 12, &92_u32.to_le_bytes());
        put(&mut sector, 24, &own.to_le_bytes());
        put(&mut sector, 32, &alternate.to_le_bytes());
        put(&mut sector, 40, &self.first_usable.to_le_bytes());
        put(&mut sector, 48, &self.last_usable_of(geometry).to_le_bytes());
        put(&mut sector, 56, &self.disk_guid);
        put(&mut sector, 72, &entries_lba.to_le_bytes());
        put(&mut sector, 80, &count.to_le_bytes());
        put(&mut sector, 84, &128_u32.to_le_bytes());
        put(&mut sector, 88, &CRC.checksum(&self.entries).to_le_bytes());
        let checksum = CRC.checksum(sector.get(..HEADER_SIZE).unwrap_or_default());
        put(&mut sector, 16, &checksum.to_le_bytes());
        sector
    }
}

fn decode_name(raw: &[u8]) -> String {
    let units: Vec<u16> = raw
        .chunks_exact(2)
        .take(NAME_UNITS)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

fn encode_name(name: &str) -> [u8; NAME_UNITS * 2] {
    let mut raw = [0; NAME_UNITS * 2];
    for (place, unit) in raw.chunks_exact_mut(2).zip(name.encode_utf16()) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    raw
}
