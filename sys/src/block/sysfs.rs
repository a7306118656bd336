//! The block devices of /sys/class/block. An entry that vanishes while it is read is no failure: hardware comes and goes.

use std::path::{Path, PathBuf};

use super::device_node;

/// sysfs counts in sectors of 512 bytes, whatever the disk's own are.
const SYSFS_SECTOR: u64 = 512;

/// A whole disk (or anything else that is a block device and no partition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name, e.g. `sda`.
    pub name: String,
    /// Its node, e.g. `/dev/sda`.
    pub node: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
}

/// A partition that the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name, e.g. `nvme0n1p3`.
    pub name: String,
    /// Its node.
    pub node: PathBuf,
    /// Its place in the tree of devices: the same at each boot, unlike the name, where the hardware is the same.
    pub path: PathBuf,
    /// The name of the disk that it lies on.
    pub disk: String,
    /// Number in the table, from 1.
    pub number: u32,
    /// The name in the table, if it has one (`PARTNAME`).
    pub label: Option<String>,
    /// First byte on the disk.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Partition {
    /// The node of the disk that it lies on.
    pub fn disk_node(&self) -> PathBuf {
        device_node(&self.disk)
    }
}

/// The view of block devices in a sysfs mounted at some place.
#[derive(Debug, Clone)]
pub struct Sysfs {
    class: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::new("/sys/class/block")
    }
}

impl Sysfs {
    /// The view in `class`, normally `/sys/class/block`.
    pub fn new(class: impl Into<PathBuf>) -> Self {
        Self { class: class.into() }
    }

    /// All partitions, ordered by name with numbers as numbers (`sda2` before `sda10`).
    pub fn partitions(&self) -> Vec<Partition> {
        self.names().iter().filter_map(|name| self.partition(name)).collect()
    }

    /// The partitions whose name in the table is `label`.
    pub fn partitions_named(&self, label: &str) -> Vec<Partition> {
        self.partitions().into_iter().filter(|partition| partition.label.as_deref() == Some(label)).collect()
    }

    /// All whole devices of non-zero size, in the same order.
    pub fn devices(&self) -> Vec<Device> {
        self.names().iter().filter_map(|name| self.device(name)).collect()
    }

    /// One partition by the kernel's name.
    pub fn partition(&self, name: &str) -> Option<Partition> {
        let directory = self.class.join(name);
        let number = number(&directory.join("partition"))?;
        // The entry is a link into the tree of devices, in which a partition lies below its disk.
        let real = std::fs::canonicalize(&directory).ok()?;
        let disk = real.parent()?.file_name()?.to_str()?.to_owned();
        let uevent = std::fs::read_to_string(directory.join("uevent")).ok()?;
        Some(Partition {
            name: name.to_owned(),
            node: device_node(name),
            disk,
            path: real,
            number: u32::try_from(number).ok()?,
            label: uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned),
            start: number_of_bytes(&directory.join("start"))?,
            size: number_of_bytes(&directory.join("size"))?,
        })
    }

    /// One whole device by the kernel's name.
    pub fn device(&self, name: &str) -> Option<Device> {
        let directory = self.class.join(name);
        if directory.join("partition").exists() {
            return None;
        }
        let size = number_of_bytes(&directory.join("size")).filter(|size| *size > 0)?;
        Some(Device {
            name: name.to_owned(),
            node: device_node(name),
            size,
            read_only: number(&directory.join("ro")) == Some(1),
        })
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.class) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_cached_key(|name| sort_key(name));
        names
    }
}

/// Splits a trailing number off, so that names sort as people number things.
fn sort_key(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn number_of_bytes(path: &Path) -> Option<u64> {
    number(path)?.checked_mul(SYSFS_SECTOR)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(directory: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
    }

    /// A sysfs of one disk with the partitions 2 and 10, and an empty loop device.
    fn tree() -> (tempfile::TempDir, Sysfs) {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("devices/pci/sda");
        let class = dir.path().join("class");
        std::fs::create_dir(&class).unwrap();
        put(&disk, &[("size", "4096\n"), ("ro", "0\n"), ("uevent", "DEVTYPE=disk\n")]);
        for (number, name) in [(10, "root-b"), (2, "root-a")] {
            let partition = disk.join(format!("sda{number}"));
            let uevent = format!("DEVTYPE=partition\nPARTN={number}\nPARTNAME={name}\n");
            put(
                &partition,
                &[
                    ("partition", &format!("{number}\n")),
                    ("start", "2048\n"),
                    ("size", "8\n"),
                    ("uevent", &uevent),
                ],
            );
            symlink(&partition, class.join(format!("sda{number}"))).unwrap();
        }
        symlink(&disk, class.join("sda")).unwrap();
        put(&dir.path().join("devices/loop0"), &[("size", "0\n"), ("ro", "0\n"), ("uevent", "")]);
        symlink(dir.path().join("devices/loop0"), class.join("loop0")).unwrap();
        (dir, Sysfs::new(class))
    }

    #[test]
    fn finds_partitions_by_their_name() {
        let (_dir, sysfs) = tree();
        let found = sysfs.partitions_named("root-b");
        assert_eq!(found.len(), 1);
        let partition = &found[0];
        assert_eq!((partition.number, partition.disk.as_str()), (10, "sda"));
        assert_eq!((partition.start, partition.size), (1 << 20, 4096));
        assert_eq!(partition.node, Path::new("/dev/sda10"));
        assert_eq!(partition.disk_node(), Path::new("/dev/sda"));
        assert!(sysfs.partitions_named("state").is_empty());
    }

    #[test]
    fn orders_by_number_and_leaves_empty_devices_out() {
        let (_dir, sysfs) = tree();
        let names: Vec<String> = sysfs.partitions().into_iter().map(|partition| partition.name).collect();
        assert_eq!(names, ["sda2", "sda10"]);
        let devices: Vec<String> = sysfs.devices().into_iter().map(|device| device.name).collect();
        assert_eq!(devices, ["sda"]);
    }

    #[test]
    fn names_with_a_slash_have_their_node_below_a_directory() {
        assert_eq!(device_node("cciss!c0d0p1"), Path::new("/dev/cciss/c0d0p1"));
    }
}
