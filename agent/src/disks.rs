//! Which disks this machine has, from sysfs alone.
//!
//! It must never leave out a disk because it cannot be erased: that is for the one who tries to find out, and to say.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::inventory::storage;

pub mod ranges;
pub mod unseen;

/// Unit of `start` and `size` in sysfs, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// Where the kernel shows disks.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/sys` except in tests.
    pub sysfs: PathBuf,
    /// `/dev` except in tests.
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sysfs: PathBuf::from(crate::inventory::SYSFS), dev: PathBuf::from("/dev") }
    }
}

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, `nvme0n1`.
    pub name: String,
    /// Its node as shown to people and to the plane.
    pub shown: String,
    pub node: PathBuf,
    /// Its directory in sysfs.
    pub sysfs: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Model, if known.
    pub model: String,
    /// Serial number, if known.
    pub serial: String,
    /// The kernel's number of this disk with this medium (`diskseq`, since 5.15): never given twice in one boot.
    pub sequence: Option<u64>,
    /// The kernel refuses writes.
    pub read_only: bool,
    /// It takes discards.
    pub discards: bool,
    /// No other namespace is on its `NVMe` controller; true of all other disks.
    pub alone: bool,
    /// Where its partitions lie, in bytes.
    pub partitions: Vec<Range<u64>>,
}

/// All disks, ordered by name.
pub fn find(places: &Places) -> Vec<Disk> {
    let block = places.sysfs.join(storage::BLOCK_DEVICES);
    names(&block).into_iter().filter_map(|name| disk(places, &block.join(&name), name)).collect()
}

/// Disks whose medium cannot be taken out and that show no capacity all the same: they cannot be erased, are none of
/// [`find`] (spec §5.1), and are said by [`unseen`].
pub fn without_capacity(places: &Places) -> Vec<String> {
    let block = places.sysfs.join(storage::BLOCK_DEVICES);
    let mut names = names(&block);
    names.retain(|name| {
        let device = block.join(name);
        storage::is_disk(&device, name)
            && storage::attribute(&device, "size") == "0"
            && storage::attribute(&device, "removable") != "1"
    });
    names
}

fn disk(places: &Places, device: &Path, name: String) -> Option<Disk> {
    let described = storage::disk(device, &name)?;
    Some(Disk {
        node: places.dev.join(name.replace('!', "/")),
        sysfs: device.to_owned(),
        shown: described.device_name,
        size: described.size,
        model: described.model,
        serial: described.serial,
        sequence: number(device, "diskseq"),
        read_only: number(device, "ro") == Some(1),
        discards: number(device, "queue/discard_max_bytes").is_some_and(|bytes| bytes > 0),
        alone: is_alone(&places.sysfs.join(storage::BLOCK_DEVICES), &name),
        partitions: partitions(device),
        name,
    })
}

/// Whether an `NVMe` controller (or multipath subsystem) has this namespace only: `nvme0n1` and no `nvme0n2`.
fn is_alone(block: &Path, name: &str) -> bool {
    let controller = |name: &str| {
        let number = name.strip_prefix("nvme")?.split('n').next()?;
        Some(format!("nvme{number}n"))
    };
    controller(name)
        .is_none_or(|own| names(block).iter().all(|other| other == name || !other.starts_with(&own)))
}

fn partitions(device: &Path) -> Vec<Range<u64>> {
    let mut partitions: Vec<Range<u64>> = names(device)
        .into_iter()
        .map(|name| device.join(name))
        .filter(|directory| directory.join("partition").exists())
        .filter_map(|directory| {
            let start = number(&directory, "start")?.checked_mul(SECTOR)?;
            Some(start..start.checked_add(number(&directory, "size")?.checked_mul(SECTOR)?)?)
        })
        .collect();
    partitions.sort_by_key(|range| (range.start, range.end));
    partitions
}

/// What the kernel says holds the disk or one of its partitions: `dm-0 (vg-root)`, `md127`.
pub fn holders(device: &Path) -> Vec<String> {
    let partitions = names(device).into_iter().map(|name| device.join(name));
    let directories = partitions.filter(|directory| directory.join("partition").exists());
    let mut holders: Vec<String> = std::iter::once(device.to_owned())
        .chain(directories)
        .flat_map(|directory| {
            let holders = directory.join("holders");
            names(&holders).into_iter().map(move |name| {
                let mapped = storage::attribute(&holders.join(&name), "dm/name");
                if mapped.is_empty() { name } else { format!("{name} ({mapped})") }
            })
        })
        .collect();
    holders.sort();
    holders.dedup();
    holders
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn number(directory: &Path, attribute: &str) -> Option<u64> {
    storage::attribute(directory, attribute).parse().ok()
}
