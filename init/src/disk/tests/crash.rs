//! The power is cut after every write, with every choice of which unsynced writes reached the disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::super::decide::{STATE, STATE_NEW, decide};
use super::super::gpt::{Copies, Entry, Geometry, Storage};
use super::super::steps::{Steps, heal};
use super::super::{Failure, How, superblock};
use super::{DISK_BYTES, SECTOR, SECTOR_BYTES, flashed, open};

type Sectors = BTreeMap<u64, Vec<u8>>;

/// A disk with a volatile cache: what was not synced may or may not be there after a cut.
struct Fragile<'a> {
    base: &'a File,
    /// Written over the base, safe.
    safe: RefCell<Sectors>,
    /// Written and not synced, in order.
    cache: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Writes until the power goes; reads go on, the caller does not.
    writes_left: Cell<usize>,
    formats: Cell<usize>,
}

impl<'a> Fragile<'a> {
    fn new(base: &'a File, safe: Sectors, writes: usize) -> Self {
        Self {
            base,
            safe: RefCell::new(safe),
            cache: RefCell::default(),
            writes_left: Cell::new(writes),
            formats: Cell::new(0),
        }
    }

    /// What is on the disk after the cut: of the unsynced writes those whose bit in `survivors` is set.
    fn cut(self, survivors: u64) -> Sectors {
        let mut sectors = self.safe.into_inner();
        for (index, (at, bytes)) in self.cache.into_inner().into_iter().enumerate() {
            if survivors >> (index % 64) & 1 == 1 {
                sectors.insert(at, bytes);
            }
        }
        sectors
    }

    fn sector(&self, at: u64) -> Vec<u8> {
        let cache = self.cache.borrow();
        if let Some((_, bytes)) = cache.iter().rev().find(|(offset, _)| *offset == at) {
            return bytes.clone();
        }
        self.safe.borrow().get(&at).cloned().unwrap_or_else(|| {
            let mut bytes = vec![0; SECTOR_BYTES];
            self.base.read(at, &mut bytes).unwrap();
            bytes
        })
    }

    /// What mkfs.ext4 leaves, as far as this program looks at it: the superblock.
    fn format(&self, entry: &Entry) -> io::Result<()> {
        self.formats.set(self.formats.get() + 1);
        let at = entry.first * SECTOR + 1024;
        self.write(at, &[0; SECTOR_BYTES])?;
        self.sync()?;
        self.write(at, &superblock_of(entry, 0))?;
        self.sync()
    }
}

fn superblock_of(entry: &Entry, mounts: u16) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR_BYTES];
    let blocks = u32::try_from(entry.sectors() * SECTOR / 1024).unwrap();
    bytes[4..8].copy_from_slice(&blocks.to_le_bytes());
    bytes[0x34..0x36].copy_from_slice(&mounts.to_le_bytes());
    bytes[0x38..0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
    bytes[0x78..0x7d].copy_from_slice(STATE.as_bytes());
    bytes
}

impl Storage for Fragile<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (index, part) in (0..).zip(buffer.chunks_mut(SECTOR_BYTES)) {
            part.copy_from_slice(&self.sector(offset + index * SECTOR)[..part.len()]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!((offset % SECTOR, bytes.len() as u64), (0, SECTOR), "a disk writes whole sectors");
        let left = self.writes_left.get().checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        self.writes_left.set(left);
        self.cache.borrow_mut().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.writes_left.get() == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.safe.borrow_mut().extend(self.cache.borrow_mut().drain(..));
        Ok(())
    }
}

/// One boot: heal, decide, carry out; then the state is mounted and written to.
fn boot(disk: &Fragile<'_>, geometry: Geometry) -> Result<How, Failure> {
    let path = Path::new("disk");
    let copies = Copies::read(disk, geometry);
    let decision = decide(&copies, &|lba| superblock::probe(disk, geometry.offset(lba)));
    let steps = Steps { storage: disk, geometry, disk: path };
    let failed = |source| Failure::Disk { what: "write", disk: path.into(), source };
    let (entry, how) = steps.carry_out(decision, &copies, &mut |entry| disk.format(entry).map_err(failed))?;
    heal(disk, geometry).map_err(failed)?;
    let at = entry.first * SECTOR + 1024;
    disk.write(at, &superblock_of(&entry, 1)).and_then(|()| disk.sync()).map_err(failed)?;
    Ok(how)
}

/// What must hold after any cut: a valid copy, and the four partitions of the image as they were.
fn check(disk: &Fragile<'_>, geometry: Geometry, original: &[Entry]) -> Vec<Entry> {
    let copies = Copies::read(disk, geometry);
    let table = copies.effective().expect("one copy is always valid");
    let partitions = table.partitions();
    assert_eq!(partitions[..original.len()], *original);
    partitions
}

/// Whether the state was ever mounted on these sectors.
fn was_used(disk: &Fragile<'_>, geometry: Geometry, partitions: &[Entry]) -> bool {
    partitions.iter().filter(|entry| [STATE, STATE_NEW].contains(&entry.name.as_str())).any(|entry| {
        matches!(
            superblock::probe(disk, geometry.offset(entry.first)),
            super::super::decide::Content::Ext4 { used: true, .. }
        )
    })
}

/// Boots again and again; each number says after how many writes the power goes and what of the cache survives. Then
/// a boot without a cut must find a state, without having formatted one that was in use.
fn survives(cuts: &[(usize, u64)]) {
    let directory = tempfile::tempdir().unwrap();
    let (base, geometry) = open(&flashed(directory.path(), DISK_BYTES));
    let original = Copies::read(&base, geometry).primary.unwrap().partitions();
    let mut sectors = Sectors::new();
    for &(writes, survivors) in cuts {
        let disk = Fragile::new(&base, sectors, writes);
        let used = was_used(&disk, geometry, &check(&disk, geometry, &original));
        let outcome = boot(&disk, geometry);
        assert!(!(used && disk.formats.get() > 0), "a state in use was formatted");
        assert!(matches!(outcome, Ok(_) | Err(Failure::Disk { .. })), "only the power may fail: {outcome:?}");
        sectors = disk.cut(survivors);
    }
    let disk = Fragile::new(&base, sectors, usize::MAX);
    let used = was_used(&disk, geometry, &check(&disk, geometry, &original));
    boot(&disk, geometry).unwrap();
    assert!(!(used && disk.formats.get() > 0), "a state in use was formatted");
    let partitions = check(&disk, geometry, &original);
    assert_eq!(partitions.len(), original.len() + 1);
    assert_eq!(partitions[original.len()].name, STATE);
    assert!(Copies::read(&disk, geometry).agree());
    assert_eq!(boot(&disk, geometry).unwrap(), How::Found);
}

/// How many writes a first boot takes.
fn writes_of_a_first_boot() -> usize {
    let directory = tempfile::tempdir().unwrap();
    let (base, geometry) = open(&flashed(directory.path(), DISK_BYTES));
    let disk = Fragile::new(&base, Sectors::new(), usize::MAX);
    assert_eq!(boot(&disk, geometry).unwrap(), How::Created);
    assert_eq!(disk.formats.get(), 1);
    usize::MAX - disk.writes_left.get()
}

#[test]
fn a_cut_after_any_write_of_the_first_boot_is_survived() {
    let writes = writes_of_a_first_boot();
    assert!((10..200).contains(&writes), "{writes}");
    for cut in 0..=writes {
        // Nothing, all, every second one, and each single one of the last eight unsynced writes.
        let single = (0..8).map(|bit| 1 << bit);
        for survivors in [0, u64::MAX, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555].into_iter().chain(single)
        {
            survives(&[(cut, survivors)]);
        }
    }
}

#[test]
fn the_usual_change_touches_two_sectors_of_the_primary() {
    let directory = tempfile::tempdir().unwrap();
    let (base, geometry) = open(&flashed(directory.path(), DISK_BYTES));
    let disk = Fragile::new(&base, Sectors::new(), usize::MAX);
    boot(&disk, geometry).unwrap();
    let primary: Vec<u64> = disk.safe.borrow().keys().map(|at| at / SECTOR).filter(|lba| *lba < 34).collect();
    assert_eq!(primary, [1, 3], "header, and the sector with the fifth entry; never the one with the roots");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_number_of_cuts_is_survived(
        cuts in proptest::collection::vec((0_usize..60, any::<u64>()), 1..6),
    ) {
        survives(&cuts);
    }
}
