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
    remove_if_there(target)?;
    let mut command = MKSQUASHFS.command()?;
    let (level, epoch) = (settings.squashfs_level.to_string(), settings.epoch.to_string());
    command.args([tool::text(&settings.rootfs())?, tool::text(target)?]);
    command.args(["-noappend", "-all-root", "-no-xattrs", "-no-exports", "-reproducible"]);
    command.args(["-comp", "zstd", "-Xcompression-level", &level, "-b", BLOCK_SIZE]);
    command.args(["-mkfs-time", &epoch, "-all-time", &epoch, "-quiet", "-no-progress"]);
    tool::output("mksquashfs", command).map(drop)
}
