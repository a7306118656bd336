//! Every answer, and attempts to get a format that must not be.

use proptest::prelude::*;

use super::super::gpt::Guid;
use super::*;

const SECTOR: u32 = 512;
const MIB: u64 = 2048;
/// A disk of 2 GiB.
const DISK: Geometry = Geometry { sector: SECTOR, sectors: 2048 * MIB };
const ROOM_FIRST: u64 = 42 * MIB;

/// Storage in memory, sparse: only the sectors that were written.
#[derive(Default)]
struct Memory(std::cell::RefCell<std::collections::BTreeMap<u64, Vec<u8>>>);

impl super::super::gpt::Storage for Memory {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        for (index, part) in (0..).zip(buffer.chunks_mut(SECTOR as usize)) {
            let at = offset + index * u64::from(SECTOR);
            match self.0.borrow().get(&at) {
                Some(bytes) => part.copy_from_slice(&bytes[..part.len()]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        for (index, part) in (0..).zip(bytes.chunks(SECTOR as usize)) {
            self.0.borrow_mut().insert(offset + index * u64::from(SECTOR), part.to_vec());
        }
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn entry(number: u32, first: u64, last: u64, name: &str) -> Entry {
    let mut guid: Guid = [9; 16];
    guid[0] = u8::try_from(number).unwrap();
    Entry { number, guid, first, last, name: name.into() }
}

/// The partitions of the image.
fn image() -> Vec<Entry> {
    vec![
        entry(1, MIB, 2 * MIB - 1, "bios"),
        entry(2, 2 * MIB, 10 * MIB - 1, "esp"),
        entry(3, 10 * MIB, 26 * MIB - 1, "root-a"),
        entry(4, 26 * MIB, ROOM_FIRST - 1, "root-b"),
    ]
}

fn with(extra: &[Entry]) -> Vec<Entry> {
    [image(), extra.to_vec()].concat()
}

/// A table with these entries, as both copies say it on a disk of this size.
fn table(entries: &[Entry]) -> Table {
    // An empty table of the usual shape comes from the other implementation.
    let mut device = std::io::Cursor::new(vec![0; 1 << 20]);
    gpt::GptConfig::new().writable(true).create_from_device(&mut device, None).unwrap().write().unwrap();
    let memory = Memory::default();
    let bytes = device.into_inner();
    super::super::gpt::Storage::write(&memory, 0, &bytes).unwrap();
    let small = Geometry { sector: SECTOR, sectors: bytes.len() as u64 / 512 };
    let mut empty = Table::read(&memory, small, 1).unwrap();
    empty.disk_guid = [7; 16];
    let full = entries.iter().fold(empty, |table, entry| table.with_partition(entry));
    super::super::gpt::write_table(&memory, DISK, &full).unwrap();
    Table::read(&memory, DISK, 1).unwrap()
}

fn copies(primary: Option<&[Entry]>, backup: Option<&[Entry]>) -> Copies {
    let read = |entries: Option<&[Entry]>| entries.map(table).ok_or(super::super::gpt::Invalid::Signature);
    Copies { geometry: DISK, primary: read(primary), backup: read(backup) }
}

fn ext4(label: &str, mebibytes: u64, used: bool) -> Content {
    Content::Ext4 { label: label.into(), bytes: mebibytes << 20, used }
}

/// What it is, the primary's and the backup's entries, what lies on the disk, and the answer.
type Case<'a> = (&'a str, Option<&'a [Entry]>, Option<&'a [Entry]>, Content, Decision);

#[test]
fn every_situation_has_its_answer() {
    let state = entry(5, ROOM_FIRST, 1000 * MIB - 1, STATE);
    let fresh = entry(5, ROOM_FIRST, 1000 * MIB - 1, STATE_NEW);
    let room = Entry { guid: [0; 16], ..entry(5, ROOM_FIRST, 2047 * MIB - 1, STATE_NEW) };
    let kept = Entry { name: STATE.into(), ..room.clone() };
    let (img, st, new) = (image(), with(std::slice::from_ref(&state)), with(std::slice::from_ref(&fresh)));
    let huge = Content::Ext4 { label: STATE.into(), bytes: u64::MAX, used: true };
    let cases: Vec<Case<'_>> = vec![
        ("first boot", Some(&img), None, Content::Other, Decision::Create(room.clone())),
        (
            "cut after the backup was written",
            Some(&img),
            Some(&new),
            Content::Other,
            Decision::Create(room.clone()),
        ),
        ("other people's ext4", Some(&img), None, ext4("data", 10, true), Decision::Create(room.clone())),
        ("normal", Some(&st), Some(&st), ext4(STATE, 9, true), Decision::Use(state.clone())),
        ("primary lost", None, Some(&st), ext4(STATE, 9, true), Decision::Use(state.clone())),
        ("backup lost", Some(&st), None, ext4("", 9, false), Decision::Use(state.clone())),
        ("no file system", Some(&st), Some(&st), Content::Other, Decision::Damaged(Damage::NotExt4(5))),
        ("bad sectors", Some(&st), Some(&st), Content::Unreadable, Decision::Damaged(Damage::Unreadable)),
        ("cut before mkfs", Some(&new), Some(&new), Content::Other, Decision::FinishFormat(fresh.clone())),
        (
            "cut after mkfs",
            Some(&new),
            Some(&new),
            ext4(STATE, 9, false),
            Decision::FinishFormat(fresh.clone()),
        ),
        (
            "cut in the rename",
            Some(&new),
            Some(&st),
            ext4(STATE, 9, false),
            Decision::FinishRename(fresh.clone()),
        ),
        ("renamed but empty", Some(&new), Some(&st), Content::Other, Decision::Damaged(Damage::NotExt4(5))),
        ("rename lost", Some(&new), Some(&new), ext4(STATE, 9, true), Decision::FinishRename(fresh.clone())),
        ("new, bad sectors", Some(&new), None, Content::Unreadable, Decision::Damaged(Damage::Unreadable)),
        ("flashed again", Some(&img), Some(&st), ext4(STATE, 9, true), Decision::Adopt(state.clone())),
        ("flashed again, overwritten", Some(&img), Some(&st), Content::Other, Decision::Create(room.clone())),
        (
            "flashed again, bad sectors",
            Some(&img),
            Some(&st),
            Content::Unreadable,
            Decision::Damaged(Damage::Unreadable),
        ),
        ("flashed again, no backup", Some(&img), None, ext4(STATE, 9, true), Decision::Adopt(kept)),
        (
            "too large a file system",
            Some(&img),
            None,
            huge,
            Decision::Damaged(Damage::Truncated { bytes: u64::MAX, room: (2047 * MIB - ROOM_FIRST) * 512 }),
        ),
    ];
    for (what, primary, backup, content, expected) in cases {
        assert_eq!(decide(&copies(primary, backup), &|_| content.clone()), expected, "{what}");
    }
}

#[test]
fn tables_that_contradict_themselves_are_damaged() {
    let state = entry(5, ROOM_FIRST, 1000 * MIB, STATE);
    let answers = |extra: &[Entry]| decide(&copies(Some(&with(extra)), None), &|_| ext4(STATE, 1, true));
    let second = entry(6, 1001 * MIB, 1002 * MIB, STATE_NEW);
    assert_eq!(answers(&[state.clone(), second]), Decision::Damaged(Damage::Several));
    let over = entry(6, 999 * MIB, 1002 * MIB, "x");
    assert_eq!(answers(&[state.clone(), over]), Decision::Damaged(Damage::Overlap(5, 6)));
    for bad in
        [entry(6, 5, 9, "x"), entry(6, 1500 * MIB, u64::MAX, "x"), entry(6, 1500 * MIB, 1400 * MIB, "x")]
    {
        assert_eq!(answers(&[state.clone(), bad]), Decision::Damaged(Damage::OutOfRange(6)));
    }
    let none = decide(&copies(None, None), &|_| Content::Other);
    assert!(matches!(none, Decision::Damaged(Damage::NoTable { .. })), "{none:?}");
    let odd = Copies { geometry: Geometry { sector: 0, sectors: 0 }, ..copies(Some(&image()), None) };
    assert_eq!(decide(&odd, &|_| Content::Other), Decision::Damaged(Damage::SectorSize(0)));
}

#[test]
fn a_full_table_or_disk_is_said() {
    let rest = entry(5, ROOM_FIRST, 2000 * MIB - 1, "data");
    let answer = decide(&copies(Some(&with(&[rest])), None), &|_| Content::Other);
    assert_eq!(answer, Decision::NoRoom { free_bytes: 47 << 20 });
    let all = entry(5, ROOM_FIRST, DISK.sectors - 34, "data");
    assert_eq!(
        decide(&copies(Some(&with(&[all])), None), &|_| Content::Other),
        Decision::NoRoom { free_bytes: 0 }
    );
    let many: Vec<Entry> =
        (5..=128).map(|n| entry(n, ROOM_FIRST + u64::from(n), ROOM_FIRST + u64::from(n), "x")).collect();
    let answer = decide(&copies(Some(&with(&many)), None), &|_| Content::Other);
    assert_eq!(answer, Decision::Damaged(Damage::NoEntry));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(STATE.to_owned()), Just(STATE_NEW.to_owned()), Just("data".to_owned())]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Other),
        Just(Content::Unreadable),
        (name(), 0_u64..4096, any::<bool>())
            .prop_map(|(label, mebibytes, used)| ext4(&label, mebibytes, used)),
    ]
}

fn extras() -> impl Strategy<Value = Option<Vec<Entry>>> {
    let extra = (5_u32..9, 40_u64..2050, 1_u64..900, name()).prop_map(|(number, first, length, name)| {
        entry(number, first * MIB, (first + length) * MIB - 1, &name)
    });
    proptest::option::of(proptest::collection::vec(extra, 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_in_use_is_ever_formatted(primary in extras(), backup in extras(), content in content()) {
        let (primary, backup) = (primary.map(|extra| with(&extra)), backup.map(|extra| with(&extra)));
        let copies = copies(primary.as_deref(), backup.as_deref());
        let decision = decide(&copies, &|_| content.clone());
        let effective = copies.effective().map(Table::partitions).unwrap_or_default();
        if let Decision::Create(target) | Decision::FinishFormat(target) = &decision {
            prop_assert_eq!(&target.name, STATE_NEW);
            prop_assert!(effective.iter().all(|entry| entry.name != STATE), "a state exists");
            prop_assert!(!matches!(&content, Content::Unreadable));
            if let Content::Ext4 { label, used, .. } = &content {
                prop_assert!(label != STATE || !used, "a used state would be formatted");
            }
        }
        if let Decision::Create(target) | Decision::Adopt(target) = &decision {
            prop_assert!(effective.iter().all(|entry| !entry.overlaps(target.first, target.last)));
            prop_assert!(effective.iter().all(|entry| entry.number != target.number));
            prop_assert!(target.last <= DISK.sectors - 34);
        }
    }
}
