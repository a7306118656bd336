//! Stage `squashfs`: the root directory as one compressed, read-only file system. It must never
//! keep owners, times or extended attributes of the build machine.

use std::path::Path;

use anyhow::Result;

use crate::settings::Settings;
use crate::stage::remove_if_there;
use crate::tool::{self, MKSQUASHFS};

/// The largest block: 8 % smaller than 128 KiB, and reads that matter here are long.
const BLOCK_SIZE: &str = "1M";

/// Packs `settings.rootfs()` into `target`.
pub fn pack(settings: &Settings, target: &Path) -> Result<()> {
    let packing = Packing { level: settings.squashfs_level, block: BLOCK_SIZE, epoch: settings.epoch };
    packing.pack(&settings.rootfs(), target)
}

/// How a directory is packed.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// zstd's, 1 to 22.
    pub level: u32,
    /// Size of a block, as mksquashfs takes it.
    pub block: &'static str,
    /// Time of everything in it.
    pub epoch: u32,
}

impl Packing {
    /// Packs `root` into `target`.
    pub fn pack(self, root: &Path, target: &Path) -> Result<()> {
        remove_if_there(target)?;
        let mut command = MKSQUASHFS.command()?;
        let (level, epoch) = (self.level.to_string(), self.epoch.to_string());
        command.args([tool::text(root)?, tool::text(target)?]);
        command.args(["-noappend", "-all-root", "-no-xattrs", "-no-exports", "-reproducible"]);
        command.args(["-comp", "zstd", "-Xcompression-level", &level, "-b", self.block]);
        command.args(["-mkfs-time", &epoch, "-all-time", &epoch, "-quiet", "-no-progress"]);
        tool::output("mksquashfs", command).map(drop)
    }
}
