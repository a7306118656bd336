//! The state partition: found, made on the first boot, checked, mounted.
//!
//! The image leaves the rest of its disk free. On the first boot a partition named `state-new` is made there,
//! formatted, and only then renamed to `state`; a power cut at any instant leaves something from which the next boot
//! goes on. This module must never format a partition named `state`, nor anything that [`decide`] does not prove to
//! be free or unfinished.

pub mod decide;
pub mod gpt;
mod locate;
mod open;
mod steps;
pub mod superblock;
mod tools;

use std::path::PathBuf;

pub use decide::{Damage, Decision};
pub use open::{Request, heal_table, open_state};

/// How the state came to be usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Found,
    Created,
    /// Begun at an earlier boot that was cut off, finished now.
    Finished,
    /// Its entry had been lost (the image was flashed again); it was put back, with what it held.
    Adopted,
}

/// What became of the state.
#[derive(Debug)]
pub enum Outcome {
    Mounted {
        node: PathBuf,
        how: How,
        /// What people should be told, a sentence each.
        warnings: Vec<String>,
    },
    /// There is no disk, or no room on it: a run in memory is possible, and lost at power off.
    NoPlace(Failure),
    /// There is something that must not be touched: nothing was written, and nobody may start afresh on top of it.
    Damaged(Failure),
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The root lies on no disk, and no disk has a partition named `state`.
    #[error(
        "failed to find a disk for the state: the system was not started from a disk, and no disk has a partition named state"
    )]
    NoDisk,
    #[error(
        "failed to make the state partition on {disk}: {free_bytes} bytes are free, {needed_bytes} are needed"
    )]
    NoRoom {
        disk: PathBuf,
        free_bytes: u64,
        /// Smallest state partition.
        needed_bytes: u64,
    },
    /// Two disks claim to hold the state, and none is the one that was started from.
    #[error("failed to choose a state partition: {nodes:?} all claim to be it; disconnect all but one")]
    Ambiguous { nodes: Vec<PathBuf> },
    /// The table, or what lies at the state's place, contradicts itself.
    #[error("failed to find the state on {disk}")]
    Table { disk: PathBuf, source: Damage },
    #[error("failed to {what} {disk}")]
    Disk { what: &'static str, disk: PathBuf, source: std::io::Error },
    /// A question about the disk, or the news of its new partition, failed.
    #[error("failed to use the disk {disk}")]
    Block { disk: PathBuf, source: bloomery_sys::block::Error },
    /// The kernel has another partition in the new one's place.
    #[error("failed to find partition {number} of {disk} in the kernel's list; a restart reads it anew")]
    Node { disk: PathBuf, number: u32 },
    #[error("failed to run {tool} on {node}")]
    Run { tool: &'static str, node: PathBuf, source: bloomery_sys::process::Error },
    #[error("failed to {what} {node}: {tool} ended with {status} and said: {output}")]
    Tool {
        what: &'static str,
        tool: &'static str,
        node: PathBuf,
        status: std::process::ExitStatus,
        output: String,
    },
    #[error("failed to mount the state partition {node}")]
    Mount { node: PathBuf, source: bloomery_sys::mount::Error },
}

#[cfg(test)]
mod tests;
