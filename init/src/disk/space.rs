//! How full a file system is. Must never delete anything: what may go is decided by who wrote it.

use std::io;
use std::path::Path;

/// Below this share of free bytes people are told.
const WARN_FREE_PERCENT: u64 = 15;
/// Below this share etcd and logs are about to fail.
const CRITICAL_FREE_PERCENT: u64 = 5;
/// Below this much, however large the disk: etcd writes its log in pieces of 64 MB.
const CRITICAL_FREE_BYTES: u64 = 96 << 20;
/// Below this share of free inodes files can hardly be made any more.
const CRITICAL_FREE_INODES_PERCENT: u64 = 2;

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok,
    /// People should look after it.
    Warning,
    /// Writes are about to fail.
    Critical,
}

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that services may still take.
    pub free_bytes: u64,
    /// Inodes in all; 0 where the file system does not count them.
    pub total_inodes: u64,
    /// Inodes free.
    pub free_inodes: u64,
}

impl Space {
    /// How serious it is.
    pub fn level(&self) -> Level {
        let percent = |free: u64, total: u64| free.saturating_mul(100).checked_div(total).unwrap_or(100);
        let free = percent(self.free_bytes, self.total_bytes);
        if free < CRITICAL_FREE_PERCENT
            || self.free_bytes < CRITICAL_FREE_BYTES
            || percent(self.free_inodes, self.total_inodes) < CRITICAL_FREE_INODES_PERCENT
        {
            Level::Critical
        } else if free < WARN_FREE_PERCENT {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    /// A sentence for people, or `None` if all is well.
    pub fn message(&self) -> Option<String> {
        let mebibytes = |bytes: u64| bytes >> 20;
        let numbers = format!("{} of {} MiB are free", mebibytes(self.free_bytes), mebibytes(self.total_bytes));
        match self.level() {
            Level::Ok => None,
            Level::Warning => Some(format!("the state partition is filling up: {numbers}")),
            Level::Critical => Some(format!(
                "the state partition is full: {numbers} and {} inodes; remove Environments that are not used, or \
                 move to a larger disk",
                self.free_inodes
            )),
        }
    }
}

/// Asks the file system that holds `path`.
pub fn check_space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_inodes: stat.f_files,
        free_inodes: stat.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_in_time() {
        let gib = 1 << 30;
        for (total, free, inodes, expected) in [
            (10 * gib, 5 * gib, 90, Level::Ok),
            (10 * gib, gib, 90, Level::Warning),
            (10 * gib, gib / 4, 90, Level::Critical),
            (10 * gib, 5 * gib, 1, Level::Critical),
            (gib / 4, 64 << 20, 90, Level::Critical),
            (0, 0, 0, Level::Critical),
        ] {
            let space = Space { total_bytes: total, free_bytes: free, total_inodes: 100, free_inodes: inodes };
            assert_eq!(space.level(), expected, "{space:?}");
            assert_eq!(space.message().is_none(), expected == Level::Ok);
        }
    }

    #[test]
    fn asks_the_file_system() {
        let space = check_space(Path::new("/")).unwrap();
        assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0);
        assert!(check_space(Path::new("/nonexistent")).is_err());
    }
}
