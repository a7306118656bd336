//! Each row by itself, and all of them against what a fast wipe zeroes.

use bloomery_agent_api::contents::WORDS;

use super::*;
use crate::contents::volume::WINDOW;
use crate::disks::ranges;

const SIZES: [u64; 4] = [3 * MIB + 512, 40 * MIB, 999 * MIB + 4096, 2000 * GIB];

/// The ends of a volume of zeroes with some octets in it.
fn ends(size: u64, marks: &[(u64, &[u8])]) -> Ends {
    let length = usize::try_from(WINDOW.min(size)).unwrap();
    let mut ends = Ends { size, head: vec![0; length], tail: vec![0; length] };
    for (offset, magic) in marks {
        let from_end = size - length as u64;
        for (start, bytes) in [(0, &mut ends.head), (from_end, &mut ends.tail)] {
            let Some(at) = offset.checked_sub(start).and_then(|at| usize::try_from(at).ok()) else {
                continue;
            };
            if let Some(place) = bytes.get_mut(at..at + magic.len()) {
                place.copy_from_slice(magic);
            }
        }
    }
    ends
}

#[test]
fn each_mark_is_found_at_its_place_and_only_there() {
    for size in SIZES {
        for row in SIGNATURES {
            let offset = row.place.offset(size).unwrap();
            assert_eq!(words(&ends(size, &[(offset, row.magic)])), [row.word], "{row:?} of {size}");
            // A pattern of one octet more would be found in a shifted copy of itself; none of these is.
            assert_eq!(words(&ends(size, &[(offset + 1, row.magic)])), [""; 0], "{row:?} of {size}");
            assert!(WORDS.contains(&row.word), "{row:?}");
        }
    }
    assert!(COPIES.iter().all(|row| WORDS.contains(&row.word)));
    assert_eq!(words(&ends(40 * MIB, &[])), [""; 0]);
}

#[test]
fn a_fast_wipe_zeroes_every_place_that_is_looked_at_for_a_mark() {
    for size in SIZES {
        for (start, whole, zeroed) in [
            (0, size, ranges::signatures(size, &[])),
            (
                7 * MIB,
                size,
                ranges::signatures(size + 20 * MIB, std::slice::from_ref(&(7 * MIB..7 * MIB + size))),
            ),
        ] {
            for row in SIGNATURES.iter().chain(COPIES) {
                let Some(offset) = row.place.offset(whole).filter(|offset| offset + 64 <= whole) else {
                    continue;
                };
                let place = start + offset..start + offset + row.magic.len() as u64;
                let covered = zeroed.iter().any(|zero| zero.start <= place.start && place.end <= zero.end);
                assert!(covered, "{row:?} of {whole} at {start}");
            }
            // ZFS' labels and partition tables lie within the windows.
            for window in [start..start + WINDOW.min(whole), start + whole - WINDOW.min(whole)..start + whole]
            {
                assert!(zeroed.iter().any(|zero| zero.start <= window.start && window.end <= zero.end));
            }
        }
    }
}

#[test]
fn places_at_the_end_are_those_of_the_kernel() {
    let offset = |row: &Signature, size| row.place.offset(size).unwrap();
    let md: Vec<&Signature> = SIGNATURES.iter().filter(|row| row.word == "md").collect();
    // 1.0: at least 8 KiB from the end, on 4 KiB; 0.90: at least 64 KiB from it, on 64 KiB.
    assert_eq!(offset(md[2], MIB), MIB - 8192);
    assert_eq!(offset(md[2], MIB + 512), MIB - 8192);
    assert_eq!(offset(md[3], MIB), MIB - 65536);
    assert_eq!(offset(md[3], MIB + 65535), MIB - 65536);
    let drbd = SIGNATURES.iter().find(|row| row.word == "drbd").unwrap();
    assert_eq!(offset(drbd, MIB + 512), MIB - 4096 + 60);
    assert_eq!(drbd.place.offset(4095), None);
}

#[test]
fn a_pool_of_zfs_is_found_by_any_of_its_four_labels_in_both_byte_orders() {
    let size = 40 * MIB + 4096;
    let whole = 40 * MIB;
    for label in [0, 256 * KIB, whole - 512 * KIB, whole - 256 * KIB] {
        for magic in &ZFS_MAGIC {
            for step in [0, 5 * KIB, 127 * KIB] {
                let found = words(&ends(size, &[(label + 128 * KIB + step, magic)]));
                assert_eq!(found, ["zfs"], "{label} {step}");
            }
        }
    }
    assert_eq!(words(&ends(size, &[(127 * KIB, &ZFS_MAGIC[0])])), [""; 0]);
}

#[test]
fn the_three_exts_are_told_apart_by_their_features() {
    let ext = |compatible: u8, incompatible: u8, read_only: [u8; 2], block: u8| {
        words(&ends(
            40 * MIB,
            &[
                (1080, b"\x53\xef"),
                (1024 + 24, &[block]),
                (1024 + 92, &[compatible]),
                (1024 + 96, &[incompatible]),
                (1024 + 100, &read_only),
            ],
        ))
    };
    assert_eq!(ext(0, 0, [0; 2], 0), ["ext2"]);
    assert_eq!(ext(4, 2, [3, 0], 2), ["ext3"]);
    assert_eq!(ext(0, 8, [0; 2], 2), ["ext3"]);
    assert_eq!(ext(4, 0x42, [3, 0], 2), ["ext4"]);
    assert_eq!(ext(4, 0, [0, 4], 2), ["ext4"]);
    // Two octets of noise are not a file system.
    assert_eq!(ext(4, 0x42, [3, 0], 7), [""; 0]);
}

#[test]
fn fat_needs_its_name_and_the_end_of_its_boot_sector() {
    let end: (u64, &[u8]) = (510, b"\x55\xaa");
    assert_eq!(words(&ends(40 * MIB, &[(82, b"FAT32   "), end])), ["vfat"]);
    assert_eq!(words(&ends(40 * MIB, &[(54, b"FAT16   "), end])), ["vfat"]);
    assert_eq!(words(&ends(40 * MIB, &[(82, b"FAT32   ")])), [""; 0]);
    assert_eq!(words(&ends(40 * MIB, &[end])), [""; 0]);
}
