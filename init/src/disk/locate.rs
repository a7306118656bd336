//! Which disk the running root lies on. Must never guess: a root on no disk is said to be so.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bloomery_sys::block::{Partition, Sysfs};

/// Block devices by number.
const BY_NUMBER: &str = "/sys/dev/block";

/// The partition that is mounted at `root`.
pub(super) fn partition_of(sysfs: &Sysfs, root: &Path) -> Option<Partition> {
    let device = std::fs::metadata(root).ok()?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let real: PathBuf = std::fs::canonicalize(Path::new(BY_NUMBER).join(number)).ok()?;
    sysfs.partition(real.file_name()?.to_str()?)
}
