//! Where a fast wipe writes zeroes, and where any wipe is checked.
//!
//! It must never name a byte beyond the disk's end.

use std::ops::Range;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Both ends of the disk: the partition table and its copy, superblocks of md (0.90 within the last 128 KiB, 1.0 within the
/// last 12 KiB), LVM, LUKS, ZFS (two labels of 256 KiB at each end), and most of what is found by a magic number.
const DISK_END: u64 = 4 * MIB;
/// Both ends of each partition, for the same reason; and each of the places below.
const PARTITION_END: u64 = MIB;
/// From the start of a disk or partition: copies that are found without the first one. Superblocks of btrfs at 64 MiB
/// and 256 GiB, labels of Ceph's `BlueStore` at 1, 10, 100 and 1000 GiB.
const COPIES: [u64; 6] = [64 * MIB, GIB, 10 * GIB, 100 * GIB, 256 * GIB, 1000 * GIB];
/// A check reads this much in this many places between the ends.
const SAMPLE: u64 = 64 << 10;
const SAMPLES: u64 = 64;

/// What a fast wipe zeroes: in order, not overlapping.
pub fn signatures(size: u64, partitions: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut ranges = places(&(0..size), DISK_END);
    for partition in partitions {
        ranges.extend(places(partition, PARTITION_END));
    }
    merged(ranges, size)
}

/// Both ends and the copies of what may lie in `whole`.
fn places(whole: &Range<u64>, end: u64) -> Vec<Range<u64>> {
    let copies = COPIES.iter().map(|copy| {
        let start = whole.start.saturating_add(*copy);
        start..start.saturating_add(PARTITION_END).min(whole.end)
    });
    let head = whole.start..whole.start.saturating_add(end).min(whole.end);
    let tail = whole.end.saturating_sub(end).max(whole.start)..whole.end;
    [head, tail].into_iter().chain(copies).filter(|range| range.start < range.end).collect()
}

/// What is checked of a disk all of which was erased: both ends, and samples between them. `jitter` moves the samples,
/// so that no place is never looked at.
pub fn samples(size: u64, sector: u64, jitter: u64) -> Vec<Range<u64>> {
    let mut ranges = vec![0..DISK_END, size.saturating_sub(DISK_END)..size];
    let stride = size / SAMPLES;
    if stride > SAMPLE {
        let sector = sector.max(1);
        let shift = jitter % (stride - SAMPLE) / sector * sector;
        let starts = (0..SAMPLES).map(|index| index * (stride / sector * sector) + shift);
        ranges.extend(starts.map(|start| start..start + SAMPLE));
    } else {
        ranges.push(0..size);
    }
    merged(ranges, size)
}

/// The same bytes, in order, within `size`, each once.
fn merged(mut ranges: Vec<Range<u64>>, size: u64) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range.start..range.end.min(size);
        match merged.last_mut() {
            _ if range.start >= range.end => {}
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_disk_is_zeroed_whole() {
        for size in [1, 512, 8 * MIB] {
            let ranges = signatures(size, &[]);
            assert_eq!((ranges.len(), ranges[0].clone()), (1, 0..size));
        }
        assert_eq!(signatures(0, &[]), []);
    }

    #[test]
    fn the_ends_of_disk_and_partitions_and_the_known_copies_are_zeroed() {
        let partition = 100 * MIB..200 * MIB;
        assert_eq!(
            signatures(300 * MIB, &[partition, 290 * MIB..400 * MIB]),
            [
                0..4 * MIB,
                64 * MIB..65 * MIB,
                100 * MIB..101 * MIB,
                164 * MIB..165 * MIB,
                199 * MIB..200 * MIB,
                290 * MIB..291 * MIB,
                296 * MIB..300 * MIB
            ]
        );
        let large = signatures(2000 * GIB, &[]);
        assert!(large.contains(&(1000 * GIB..1000 * GIB + MIB)) && large.len() == 8, "{large:?}");
    }

    proptest! {
        #[test]
        fn ranges_are_in_order_on_sectors_and_on_the_disk(
            sectors in 0..u64::MAX / 512, partitions in prop::collection::vec(any::<(u64, u64)>(), 0..5), jitter: u64,
        ) {
            let size = sectors * 512;
            let partitions: Vec<Range<u64>> = partitions.into_iter().map(|(start, end)| start..end).collect();
            for ranges in [signatures(size, &partitions), samples(size, 512, jitter)] {
                let mut last = None;
                for range in ranges {
                    prop_assert!(range.start < range.end && range.end <= size);
                    prop_assert!(last.is_none_or(|last| last < range.start));
                    last = Some(range.end);
                }
            }
            prop_assert!(samples(size, 512, jitter).iter().all(|range| range.start.is_multiple_of(512)));
        }
    }
}
