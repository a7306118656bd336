//! Writes what the image says about itself. It must never hold anything that differs between two
//! builds of the same sources.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::tree::{self, MODE_DATA};

/// Read by PID 1: `KEY=value` lines.
const BLOOMERY_RELEASE: &str = "etc/bloomery-release";
/// `os-release(5)`; `/etc/os-release` links here.
const OS_RELEASE: &str = "usr/lib/os-release";

/// Writes `/etc/bloomery-release` and completes `os-release` with the version. `epoch` is the
/// build's time in seconds since 1970: the clock of a running appliance is never before it.
pub fn write(root: &Path, version: &str, epoch: u32) -> Result<()> {
    let text = format!("VERSION={version}\nBUILD_EPOCH={epoch}\n");
    tree::write(&root.join(BLOOMERY_RELEASE), text.as_bytes(), MODE_DATA)?;
    let path = root.join(OS_RELEASE);
    let fixed = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let text = format!("{fixed}VERSION_ID={version}\nPRETTY_NAME=\"Bloomery {version}\"\n");
    tree::write(&path, text.as_bytes(), MODE_DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_has_version_and_epoch() {
        let root = tempfile::tempdir().unwrap();
        tree::write(&root.path().join(OS_RELEASE), b"ID=bloomery\n", MODE_DATA).unwrap();
        write(root.path(), "1.2.3", 1_700_000_000).unwrap();
        let text = fs::read_to_string(root.path().join(BLOOMERY_RELEASE)).unwrap();
        assert_eq!(text, "VERSION=1.2.3\nBUILD_EPOCH=1700000000\n");
        let text = fs::read_to_string(root.path().join(OS_RELEASE)).unwrap();
        assert_eq!(text, "ID=bloomery\nVERSION_ID=1.2.3\nPRETTY_NAME=\"Bloomery 1.2.3\"\n");
    }
}
