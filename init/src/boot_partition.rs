//! The image's FAT partition, where a person puts `bloomery.yaml`.
//!
//! It is mounted read-only and must never be written to while the plane runs: FAT does not survive power cuts.

use bloomery_sys::block::{Partition, Sysfs};
use bloomery_sys::mount::{self, Flags, Mount};
use std::path::{Path, PathBuf};

/// Its name in the partition table.
const NAME: &str = "esp";
/// Only root reads it: the configuration may hold secrets one day. Names as UTF-8.
const OPTIONS: &str = "umask=0077,utf8=1";

/// Why it is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to find a partition named {NAME}")]
    Missing,
    #[error("failed to open the partition named {NAME}")]
    Mount(#[source] mount::Error),
}

/// Mounts the one that lies on the disk of the root; nothing if something is mounted there already.
pub fn mount(target: &Path) -> Result<(), Error> {
    if mount::is_mount_point(target) {
        return Ok(());
    }
    let sysfs = Sysfs::default();
    let root = root_device(&mount::table().unwrap_or_default());
    let node = choose(&sysfs.partitions(), root.as_deref()).ok_or(Error::Missing)?;
    let flags = Flags::MS_RDONLY | Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC;
    let mounted = |data| Mount { source: &node, target, fstype: "vfat", flags, data }.mount();
    // A kernel without that option still has the files.
    mounted(OPTIONS).or_else(|_| mounted("")).map_err(Error::Mount)
}

fn root_device(table: &[mount::Mounted]) -> Option<PathBuf> {
    let root = table.iter().rev().find(|mounted| mounted.target == Path::new("/"))?;
    Some(PathBuf::from(&root.source))
}

/// The one beside the root; if the root is on no disk, the first one.
fn choose(partitions: &[Partition], root: Option<&Path>) -> Option<PathBuf> {
    let root_disk = partitions.iter().find(|partition| Some(partition.node.as_path()) == root);
    let named = partitions.iter().filter(|partition| partition.label.as_deref() == Some(NAME));
    named
        .min_by_key(|partition| root_disk.is_none_or(|root| root.disk != partition.disk))
        .map(|partition| partition.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(disk: &str, number: u32, label: &str) -> Partition {
        let name = format!("{disk}{number}");
        Partition {
            node: format!("/dev/{name}").into(),
            path: PathBuf::new(),
            name,
            disk: disk.into(),
            number,
            label: Some(label.into()),
            start: 0,
            size: 0,
        }
    }

    #[test]
    fn takes_the_one_beside_the_root() {
        let partitions = [
            partition("sda", 1, "esp"),
            partition("sda", 2, "windows"),
            partition("sdb", 2, "esp"),
            partition("sdb", 3, "root-a"),
        ];
        let chosen = |root: Option<&str>| choose(&partitions, root.map(Path::new));
        assert_eq!(chosen(Some("/dev/sdb3")), Some("/dev/sdb2".into()));
        assert_eq!(chosen(Some("overlay")), Some("/dev/sda1".into()));
        assert_eq!(chosen(None), Some("/dev/sda1".into()));
        assert_eq!(choose(&partitions[1..2], None), None);
    }
}
