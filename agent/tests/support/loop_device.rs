//! A loop device on a file of its own. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent::disks::Disk;
use tempfile::NamedTempFile;

/// A loop device, until it is dropped.
pub(crate) struct Loop {
    /// Its node.
    pub(crate) node: PathBuf,
    _backing: NamedTempFile,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.node).status();
    }
}

impl Loop {
    /// A device on this file; `None` where there are no loop devices and an incomplete run will do.
    pub(crate) fn of(backing: NamedTempFile, options: &[&str]) -> Option<Self> {
        let output =
            Command::new("losetup").args(["--find", "--show"]).args(options).arg(backing.path()).output();
        let output = output.ok().filter(|output| output.status.success());
        assert!(
            output.is_some() || std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
            "no loop devices for this user: run this test as root, or leave out what cannot run here with \
             BLOOMERY_INCOMPLETE_TESTS=1"
        );
        let node = PathBuf::from(String::from_utf8(output?.stdout).unwrap().trim());
        Some(Self { node, _backing: backing })
    }

    /// As a disk of the agent.
    pub(crate) fn as_disk(&self, size: u64) -> Disk {
        let name = self.node.file_name().unwrap().to_str().unwrap().to_owned();
        Disk {
            sysfs: Path::new("/sys/block").join(&name),
            shown: self.node.display().to_string(),
            node: self.node.clone(),
            size,
            model: String::new(),
            serial: String::new(),
            sequence: None,
            read_only: false,
            discards: true,
            alone: true,
            partitions: Vec::new(),
            name,
        }
    }
}
