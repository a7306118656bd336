//! mkfs.ext4 and e2fsck. Must never be given a partition that [`super::decide`] did not name for it.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use bloomery_sys::process::{Spec, run};

use super::Failure;
use super::decide::STATE;

/// Debian's e2fsprogs, part of the root.
const MKFS: &str = "/usr/sbin/mkfs.ext4";
const FSCK: &str = "/usr/sbin/e2fsck";
/// mke2fs reads its defaults there; without the file it warns and takes built-in ones.
const MKFS_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Lazy initialisation makes it seconds; a slow stick with a large partition takes longer.
const MKFS_LIMIT: Duration = Duration::from_mins(10);
/// The journal makes it seconds; a full check of a damaged, large and slow disk takes minutes.
const FSCK_LIMIT: Duration = Duration::from_hours(1);
/// e2fsck(8): 1 is "errors corrected", 2 "corrected, restart advised", which only matters for a mounted root.
const FSCK_CORRECTED: i32 = 1 | 2;
/// As much of a tool's words as fits on a screen.
const MAX_WORDS: usize = 600;

/// Makes the file system. Not told to discard: a stick may take minutes for that.
pub(super) fn format(node: &Path) -> Result<(), Failure> {
    let spec = Spec::new(MKFS)
        .args(["-q", "-F", "-L", STATE, "-E", "lazy_itable_init=1,nodiscard"])
        .args([node])
        .env("PATH", MKFS_PATH);
    let finished =
        run(&spec, MKFS_LIMIT).map_err(|source| Failure::Run { tool: MKFS, node: node.into(), source })?;
    if finished.status.success() {
        return Ok(());
    }
    Err(refused("format", MKFS, node, finished.status, &finished.output))
}

/// Checks the file system and replays its journal; returns whether anything had to be corrected.
pub(super) fn check(node: &Path) -> Result<bool, Failure> {
    let spec = Spec::new(FSCK).args(["-p"]).args([node]).env("PATH", MKFS_PATH);
    let finished =
        run(&spec, FSCK_LIMIT).map_err(|source| Failure::Run { tool: FSCK, node: node.into(), source })?;
    match finished.status.code() {
        Some(0) => Ok(false),
        Some(code) if code & !FSCK_CORRECTED == 0 => Ok(true),
        _ => Err(refused("check", FSCK, node, finished.status, &finished.output)),
    }
}

fn refused(what: &'static str, tool: &'static str, node: &Path, status: ExitStatus, output: &str) -> Failure {
    let words = output.trim();
    let from = words.ceil_char_boundary(words.len().saturating_sub(MAX_WORDS));
    let output = words.get(from..).unwrap_or_default().replace('\n', "; ");
    Failure::Tool { what, tool, node: node.into(), status, output }
}
