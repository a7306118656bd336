//! Disks in memory: whole, damaged, hostile, and such that cannot be read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A disk of zeroes with some octets in it, and places that cannot be read. It counts, and knows its end.
#[derive(Default)]
struct Fake {
    size: u64,
    bytes: BTreeMap<u64, Vec<u8>>,
    bad: Option<Range<u64>>,
    read: Cell<u64>,
    outside: Cell<bool>,
    places: RefCell<Vec<Range<u64>>>,
}

impl Fake {
    fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    fn with(mut self, offset: u64, bytes: &[u8]) -> Self {
        self.bytes.insert(offset, bytes.to_vec());
        self
    }

    fn words(&self) -> Vec<&'static str> {
        let findings = look(self, 7, &|| true);
        assert!(findings.error.is_none(), "{findings:?}");
        findings.found.into_iter().collect()
    }
}

impl ReadAt for Fake {
    fn size(&self) -> u64 {
        self.size
    }
    fn sector(&self) -> u64 {
        512
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = offset..offset.saturating_add(buffer.len() as u64);
        self.outside.set(self.outside.get() || range.end > self.size);
        self.read.set(self.read.get() + buffer.len() as u64);
        self.places.borrow_mut().push(range.clone());
        if self.bad.iter().any(|bad| bad.start < range.end && range.start < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        buffer.fill(0);
        for (start, bytes) in &self.bytes {
            for (at, byte) in (*start..).zip(bytes) {
                if range.contains(&at) {
                    buffer[usize::try_from(at - offset).unwrap()] = *byte;
                }
            }
        }
        Ok(())
    }
}

/// A GPT header and its entries (name, first sector, last sector), with sectors of this size, for either end.
fn gpt(disk: Fake, sector: u64, backup: bool, partitions: &[(&str, u64, u64)]) -> Fake {
    let last = disk.size / sector - 1;
    let (header, entries) = if backup { (last, last - 32) } else { (1, 2) };
    let mut fields = vec![0; 92];
    fields[..8].copy_from_slice(b"EFI PART");
    fields[72..80].copy_from_slice(&entries.to_le_bytes());
    fields[80..84].copy_from_slice(&128_u32.to_le_bytes());
    fields[84..88].copy_from_slice(&128_u32.to_le_bytes());
    let mut table = Vec::new();
    for (name, first, last) in partitions {
        let mut entry = vec![0; 128];
        entry[..16].fill(0x0f);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[56..56 + name.len()].copy_from_slice(&name);
        table.extend(entry);
    }
    disk.with(header * sector, &fields).with(entries * sector, &table)
}

fn mbr(partitions: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, (kind, first, sectors)) in sector[446..510].chunks_mut(16).zip(partitions) {
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(b"\x55\xaa");
    sector
}

#[test]
fn a_disk_of_zeroes_is_blank_and_was_read_at_its_ends_and_between() {
    for size in [512, 4096, 3 * MIB, 500 * GIB] {
        let disk = Fake::new(size);
        let findings = look(&disk, 12_345, &|| true);
        assert!(findings.is_blank(), "{findings:?}");
        assert_eq!(findings.message(), DiskContents { read: true, ..DiskContents::default() });
    }
    let disk = Fake::new(500 * GIB);
    look(&disk, 12_345, &|| true);
    let places = disk.places.borrow();
    let between = places.iter().filter(|place| place.start > 4 * MIB && place.end < disk.size - 4 * MIB);
    assert!(between.count() >= 64);
    assert!(disk.read.get() < 16 * MIB, "{}", disk.read.get());
}

#[test]
fn one_octet_at_either_end_or_under_a_sample_is_data() {
    let size = 40 * GIB;
    for at in [0, 3 * MIB, 4 * MIB - 1, size - 4 * MIB, size - 1] {
        assert_eq!(Fake::new(size).with(at, &[1]).words(), ["data"], "{at}");
    }
    // Somewhere in the middle of a disk full of data every sample finds it.
    let samples = ranges::samples(size, 512, 7);
    let middle = &samples[samples.len() / 2];
    assert_eq!(Fake::new(size).with(middle.end - 1, &[1]).words(), ["data"]);
}

#[test]
fn both_tables_of_gpt_are_read_with_sectors_of_either_size() {
    let size = 64 * MIB;
    for sector in [512, 4096] {
        for backup in [false, true] {
            let partition = 16 * MIB / sector;
            let entries = [("STATE", partition, 2 * partition - 1), ("", 2 * partition, 3 * partition - 1)];
            let disk = gpt(Fake::new(size), sector, backup, &entries).with(32 * MIB, b"XFSB");
            assert_eq!(disk.words(), ["gpt", "talos-state", "xfs"], "{sector} {backup}");
        }
    }
}

#[test]
fn a_talos_node_is_known_by_its_partitions_and_by_meta_itself() {
    let names = [("EFI", 2048, 4095), ("META", 4096, 6143), ("STATE", 6144, 8191), ("EPHEMERAL", 8192, 9000)];
    let disk = gpt(Fake::new(64 * MIB), 512, false, &names);
    assert_eq!(disk.words(), ["gpt", "talos-ephemeral", "talos-meta", "talos-state"]);
    // Both tables are gone; META's partition is found where a table without names has it.
    let disk = Fake::new(64 * MIB).with(0, &mbr(&[(0x83, 2048, 2048)]));
    let disk = disk.with(MIB, b"\x5a\x4b\x3c\x2d");
    assert_eq!(disk.words(), ["mbr", "talos-meta"]);
}

#[test]
fn names_of_partitions_file_systems_and_volumes_tell_of_etcd_and_kubernetes() {
    let named = gpt(Fake::new(64 * MIB), 512, false, &[("var-lib-etcd", 2048, 4095)]);
    assert_eq!(named.words(), ["etcd", "gpt"]);
    let mounted = Fake::new(64 * MIB).with(1080, b"\x53\xef").with(1024 + 96, &[0x40]);
    assert_eq!(mounted.with(1024 + 136, b"/var/lib/kubelet").words(), ["ext4", "kubernetes"]);
    let xfs = Fake::new(64 * MIB).with(0, b"XFSB").with(108, b"EPHEMERAL\0\0\0");
    assert_eq!(xfs.words(), ["talos-ephemeral", "xfs"]);
    let lvm = Fake::new(64 * MIB).with(512, b"LABELONE").with(8192, b"vg0 {\nlogical_volumes {\netcd-data {");
    assert_eq!(lvm.words(), ["etcd", "lvm"]);
    let plane = [("root-a", 2048, 4095), ("state", 4096, 8191)];
    assert_eq!(gpt(Fake::new(64 * MIB), 512, false, &plane).words(), ["etcd", "gpt"]);
}

#[test]
fn an_mbr_with_extended_partitions_is_followed_and_a_circle_ends() {
    let first = mbr(&[(0x83, 2048, 2048), (0x05, 8192, 65536)]);
    let second = mbr(&[(0x83, 16, 2048), (0x05, 4096, 4096)]);
    let third = mbr(&[(0x83, 16, 2048), (0x05, 0, 4096)]);
    let disk = Fake::new(64 * MIB).with(0, &first).with(8192 * 512, &second).with(12288 * 512, &third);
    let disk = disk.with((8192 + 16) * 512, b"LUKS\xba\xbe").with((12288 + 16) * 512 + 3, b"NTFS    ");
    assert_eq!(disk.words(), ["luks", "mbr", "ntfs"]);
}

#[test]
fn a_protective_mbr_is_a_table_only_where_gpt_is_gone() {
    let alone = Fake::new(64 * MIB).with(0, &mbr(&[(0xee, 1, 131_071)]));
    assert_eq!(alone.words(), ["mbr"]);
    let with = gpt(Fake::new(64 * MIB).with(0, &mbr(&[(0xee, 1, 131_071)])), 512, false, &[]);
    assert_eq!(with.words(), ["gpt"]);
    // A boot sector without entries is data.
    assert_eq!(Fake::new(64 * MIB).with(510, b"\x55\xaa").words(), ["data"]);
}

#[test]
fn a_table_in_a_partition_is_read_and_one_in_that_as_well() {
    let inner = mbr(&[(0x83, 1024, 1024)]);
    let disk = Fake::new(64 * MIB).with(0, &mbr(&[(0x83, 4096, 65536)])).with(4096 * 512, &inner);
    assert_eq!(disk.with((4096 + 1024) * 512, b"LUKS\xba\xbe").words(), ["luks", "mbr"]);
}

#[test]
fn a_disk_that_cannot_be_read_somewhere_is_not_blank() {
    for bad in [0..512, 200 * MIB - 1..200 * MIB, 100 * MIB..104 * MIB] {
        let disk = Fake { bad: Some(bad.clone()), ..Fake::new(200 * MIB) };
        let findings = look(&disk, 7, &|| true);
        assert!(!findings.is_blank(), "{bad:?}");
        let message = findings.message();
        assert!(!message.read && message.error.starts_with("failed to read it at byte"), "{message:?}");
    }
    // What was found elsewhere is said all the same.
    let disk = Fake { bad: Some(0..512), ..Fake::new(200 * MIB) }.with(200 * MIB - 8192, b"\xfc\x4e\x2b\xa9");
    let message = look(&disk, 7, &|| true).message();
    assert!(!message.read && message.found == ["md"], "{message:?}");
}

#[test]
fn a_dead_disk_and_a_slow_one_are_given_up_soon() {
    let disk = Fake { bad: Some(0..GIB), ..Fake::new(GIB) };
    look(&disk, 7, &|| true);
    assert!(disk.places.borrow().len() <= MOST_FAILURES, "{:?}", disk.places);
    let left = Cell::new(3);
    let slow = Fake::new(GIB);
    let findings = look(&slow, 7, &|| {
        left.set(left.get() - 1);
        left.get() > 0
    });
    assert!(matches!(findings.error, Some(Error::TooSlow)) && slow.places.borrow().len() == 2);
}

#[test]
fn a_damaged_or_endless_table_is_not_known_as_a_whole() {
    let partition = [("a", 2048_u64, 4095_u64)];
    for (at, bytes) in [
        (512 + 72, u64::MAX.to_le_bytes().to_vec()),
        (512 + 80, u32::MAX.to_le_bytes().to_vec()),
        (512 + 84, 7_u32.to_le_bytes().to_vec()),
    ] {
        let mut disk = gpt(Fake::new(64 * MIB), 512, false, &partition);
        let header = disk.bytes.get_mut(&512).unwrap();
        let at = usize::try_from(at - 512_u64).unwrap();
        header[at..at + bytes.len()].copy_from_slice(&bytes);
        let message = look(&disk, 7, &|| true).message();
        assert!(!message.read && message.found.contains(&"gpt".to_owned()), "{message:?}");
    }
}

/// Octets that lead into the branches of the search.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..600),
        prop::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 4).prop_map(|all| mbr(&all)),
        prop::collection::vec((0_u8..0x10, 0_u32..9000, 0_u32..9000), 4).prop_map(|all| mbr(&all)),
        prop::collection::vec(any::<u8>(), 84..128).prop_map(|rest| [b"EFI PART".as_slice(), &rest].concat()),
        (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(start, count, size)| {
            let mut header = b"EFI PART".to_vec();
            header.resize(92, 0);
            header[72..74].copy_from_slice(&start.to_le_bytes());
            header[80..82].copy_from_slice(&(count % 300).to_le_bytes());
            header[84..86].copy_from_slice(&(size % 300 * 8).to_le_bytes());
            header
        }),
        prop::sample::select(signatures::SIGNATURES).prop_map(|row| row.magic.to_vec()),
    ]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(512), Just(4096), (0_u64..64).prop_map(|sector| sector * 512), 0_u64..8 * MIB,]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_on_a_disk_no_look_panics_leaves_it_or_reads_without_bound(
        sectors in 1_u64..16_384,
        marks in prop::collection::vec((offset(), octets()), 0..6),
        tail in prop::option::of(octets()),
        jitter: u64,
    ) {
        let mut disk = Fake::new(sectors * 512);
        for (offset, bytes) in &marks {
            disk = disk.with(*offset, bytes);
        }
        if let Some(tail) = tail {
            disk = disk.with((sectors - 1) * 512, &tail);
        }
        let findings = look(&disk, jitter, &|| true);
        prop_assert!(!disk.outside.get());
        prop_assert!(disk.read.get() <= (MOST_VOLUMES as u64 + 2) * 2 * WINDOW + 64 * MIB);
        prop_assert!(findings.found.iter().all(|word| words::WORDS.contains(word)), "{findings:?}");
        // Nothing of a small disk goes unseen: it is blank only if all of it is zero.
        let mut all = vec![0; usize::try_from(disk.size).unwrap()];
        disk.read_at(0, &mut all).unwrap();
        prop_assert_eq!(findings.is_blank(), is_zero(&all), "{:?}", findings);
    }
}
