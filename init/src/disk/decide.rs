//! What to do about the state partition, decided from what was read and nothing else.
//!
//! ```text
//!   named `state` ──────────────────────────────► Use            (never formatted)
//!   named `state-new` ──┬─ other copy: `state` ──► FinishRename   (its format was complete)
//!                       ├─ was mounted before ───► FinishRename   (the rename was lost)
//!                       └─ else ─────────────────► FinishFormat
//!   none ──┬─ a lost entry or its file system ───► Adopt          (the image was flashed again)
//!          ├─ room ──────────────────────────────► Create         (as `state-new`)
//!          └─ no room ───────────────────────────► NoRoom
//!   anything that contradicts itself ────────────► Damaged        (nothing is written)
//! ```
//!
//! Must never answer [`Decision::Create`] or [`Decision::FinishFormat`] for sectors that may hold a state that was
//! ever in use.

use super::gpt::{Copies, Entry, Geometry, Table};

/// The partition with the state, and the label of its file system.
pub const STATE: &str = "state";
/// The same partition until its file system is complete.
pub const STATE_NEW: &str = "state-new";
/// Partitions begin and end at multiples of this many bytes, as all partitioning tools do.
const ALIGNMENT: u64 = 1 << 20;
/// Smallest state partition: etcd's quota of 1 GiB would not fit, but its usual 100 MB, logs and certificates do.
pub const MIN_STATE_BYTES: u64 = 256 << 20;

/// What lies at the start of a partition or of free space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The superblock of an ext2/3/4 file system.
    Ext4 {
        label: String,
        bytes: u64,
        /// Whether it was ever mounted.
        used: bool,
    },
    /// Something else, or nothing.
    Other,
    /// The disk could not be read there.
    Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Check and mount this partition.
    Use(Entry),
    /// Make this entry, named [`STATE_NEW`], format it, rename it. Its GUID is still to be chosen.
    Create(Entry),
    /// Format this partition, which we made and never finished, and rename it.
    FinishFormat(Entry),
    /// Rename this partition; its file system is complete.
    FinishRename(Entry),
    /// Make this entry, named [`STATE`], over the file system that is there. Nothing is formatted.
    Adopt(Entry),
    /// The disk has no room.
    NoRoom { free_bytes: u64 },
    /// The disk contradicts itself; nothing is written.
    Damaged(Damage),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("neither copy of the partition table is valid (primary: {primary}; backup: {backup})")]
    NoTable {
        /// Why the primary is not.
        primary: String,
        /// Why the backup is not.
        backup: String,
    },
    /// Two partitions share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    #[error("partition {0} does not lie within the disk; was the disk made smaller?")]
    OutOfRange(u32),
    #[error("there is more than one partition named state or state-new")]
    Several,
    #[error("the partition {0} is named state but holds no ext4 file system")]
    NotExt4(u32),
    #[error("the disk cannot be read where the state is or should be")]
    Unreadable,
    #[error("the partition table has no free entry")]
    NoEntry,
    /// A state file system lies in free space and is larger than that.
    #[error("free space holds a state file system of {bytes} bytes of which only {room} are left")]
    Truncated { bytes: u64, room: u64 },
    /// The disk became too large for our arithmetic, or its sectors are of an odd size.
    #[error("the disk has sectors of {0} bytes")]
    SectorSize(u32),
}

/// Decides. `content` says what lies at a sector; it is asked for few places.
pub fn decide(copies: &Copies, content: &dyn Fn(u64) -> Content) -> Decision {
    let geometry = copies.geometry;
    if !geometry.sector.is_power_of_two() || !(512..=65_536).contains(&geometry.sector) {
        return Decision::Damaged(Damage::SectorSize(geometry.sector));
    }
    let Some(table) = copies.effective() else {
        let text =
            |copy: &Result<Table, _>| copy.as_ref().err().map_or_else(String::new, ToString::to_string);
        return Decision::Damaged(Damage::NoTable {
            primary: text(&copies.primary),
            backup: text(&copies.backup),
        });
    };
    let partitions = table.partitions();
    if let Err(damage) = check_layout(table, &partitions, geometry) {
        return Decision::Damaged(damage);
    }
    let mut claims = partitions.iter().filter(|entry| entry.name == STATE || entry.name == STATE_NEW);
    match (claims.next(), claims.next()) {
        (Some(_), Some(_)) => Decision::Damaged(Damage::Several),
        (Some(entry), None) if entry.name == STATE => use_state(entry, content),
        (Some(entry), None) => finish(entry, copies, content),
        (None, _) => find_place(table, copies, &partitions, content),
    }
}

/// Everything lies on the disk, and nothing over anything else.
fn check_layout(table: &Table, partitions: &[Entry], geometry: Geometry) -> Result<(), Damage> {
    let last_usable = table.last_usable_of(geometry);
    for (index, entry) in partitions.iter().enumerate() {
        if entry.first > entry.last || entry.first < table.first_usable || entry.last > last_usable {
            return Err(Damage::OutOfRange(entry.number));
        }
        let others = partitions.get(..index).unwrap_or_default();
        if let Some(other) = others.iter().find(|other| other.overlaps(entry.first, entry.last)) {
            return Err(Damage::Overlap(other.number, entry.number));
        }
    }
    Ok(())
}

fn use_state(entry: &Entry, content: &dyn Fn(u64) -> Content) -> Decision {
    match content(entry.first) {
        Content::Ext4 { .. } => Decision::Use(entry.clone()),
        Content::Other => Decision::Damaged(Damage::NotExt4(entry.number)),
        Content::Unreadable => Decision::Damaged(Damage::Unreadable),
    }
}

fn finish(entry: &Entry, copies: &Copies, content: &dyn Fn(u64) -> Content) -> Decision {
    let renamed = [&copies.primary, &copies.backup].into_iter().flatten().any(|copy| {
        copy.partitions().iter().any(|other| {
            (other.number, other.guid, other.first, other.last)
                == (entry.number, entry.guid, entry.first, entry.last)
                && other.name == STATE
        })
    });
    match content(entry.first) {
        Content::Unreadable => Decision::Damaged(Damage::Unreadable),
        Content::Ext4 { used, .. } if used || renamed => Decision::FinishRename(entry.clone()),
        Content::Other if renamed => Decision::Damaged(Damage::NotExt4(entry.number)),
        Content::Ext4 { .. } | Content::Other => Decision::FinishFormat(entry.clone()),
    }
}

/// No partition is the state: one that was lost, or a place for a new one.
fn find_place(
    table: &Table,
    copies: &Copies,
    partitions: &[Entry],
    content: &dyn Fn(u64) -> Content,
) -> Decision {
    let geometry = copies.geometry;
    let Some(number) = table.free_number() else { return Decision::Damaged(Damage::NoEntry) };
    if let Some(decision) = find_lost(table, copies, partitions, number, content) {
        return decision;
    }
    let Some((first, last)) = largest_gap(table, partitions, geometry) else {
        return Decision::NoRoom { free_bytes: 0 };
    };
    let room = (last + 1 - first).saturating_mul(u64::from(geometry.sector));
    let entry = |name: &str| Entry { number, guid: [0; 16], first, last, name: name.to_owned() };
    match content(first) {
        Content::Unreadable => Decision::Damaged(Damage::Unreadable),
        Content::Ext4 { label, bytes, .. } if label == STATE && bytes <= room => {
            Decision::Adopt(entry(STATE))
        }
        Content::Ext4 { label, bytes, .. } if label == STATE => {
            Decision::Damaged(Damage::Truncated { bytes, room })
        }
        Content::Ext4 { .. } | Content::Other if room >= MIN_STATE_BYTES => {
            Decision::Create(entry(STATE_NEW))
        }
        Content::Ext4 { .. } | Content::Other => Decision::NoRoom { free_bytes: room },
    }
}

/// An entry `state` that only the backup at the end of the disk still has: the image was flashed over an older one.
fn find_lost(
    table: &Table,
    copies: &Copies,
    partitions: &[Entry],
    number: u32,
    content: &dyn Fn(u64) -> Content,
) -> Option<Decision> {
    let backup = copies.backup.as_ref().ok().filter(|backup| backup.disk_guid == table.disk_guid)?;
    let geometry = copies.geometry;
    let lost = backup.partitions().into_iter().find(|entry| {
        entry.name == STATE
            && (table.first_usable..=entry.last).contains(&entry.first)
            && entry.last <= table.last_usable_of(geometry)
            && !partitions.iter().any(|other| other.overlaps(entry.first, entry.last))
    })?;
    match content(lost.first) {
        Content::Ext4 { label, .. } if label == STATE => Some(Decision::Adopt(Entry { number, ..lost })),
        Content::Ext4 { .. } | Content::Other => None,
        Content::Unreadable => Some(Decision::Damaged(Damage::Unreadable)),
    }
}

/// The largest free piece between aligned sectors, both ends included.
///
/// The image's own backup at its end is left out, so that the same image can be flashed again without its tail
/// hitting the state.
fn largest_gap(table: &Table, partitions: &[Entry], geometry: Geometry) -> Option<(u64, u64)> {
    let align = (ALIGNMENT / u64::from(geometry.sector)).max(1);
    let mut sorted: Vec<(u64, u64)> = partitions.iter().map(|entry| (entry.first, entry.last)).collect();
    sorted.extend(table.stray_copy(geometry));
    sorted.sort_unstable();
    let end = table.last_usable_of(geometry).saturating_add(1);
    sorted.push((end, end));
    let mut from = table.first_usable;
    let mut best: Option<(u64, u64)> = None;
    for (first, last) in sorted {
        let start = from.next_multiple_of(align);
        let stop = first / align * align;
        if stop > start && best.is_none_or(|(low, high)| stop - start > high + 1 - low) {
            best = Some((start, stop - 1));
        }
        from = from.max(last.saturating_add(1));
    }
    best
}

#[cfg(test)]
mod tests;
