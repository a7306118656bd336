//! Brings one file from where it is published to where it is served: by HTTP(S), or out of the assets directory.
//!
//! Duty: whole files only. What arrives goes to a part file beside its place, is continued after a break and
//! across restarts, is checked, synced and only then renamed; a record beside it says where it came from.
//! Never knows an Environment, and never tries again by itself: its caller decides when.

mod error;
mod fetch;
mod http;
mod local;
mod partial;
pub mod place;
mod sniff;
pub mod source;
mod transfer;
mod trust;

pub use error::Error;
pub use fetch::{Fetcher, Job, Placed, digest_of};
pub use trust::Trust;

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use url::Url;

/// Bounds of what is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest file: kernels have tens of megabytes, initramfs with many drivers some hundreds.
    pub largest: u64,
    /// Bytes that stay free for etcd and the logs, which share the disk.
    pub reserve: u64,
    /// Longest silence of a server.
    pub idle: Duration,
    /// Longest try: a server that drips must not keep a place for ever.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            largest: 4 << 30,
            reserve: 256 << 20,
            idle: Duration::from_secs(30),
            whole: Duration::from_hours(1),
        }
    }
}

impl Limits {
    /// Fails when a file of `total` bytes, of which `present` are here, is too large or has no room.
    pub(super) fn check(&self, url: &Url, path: &Path, total: u64, present: u64) -> Result<(), Error> {
        let url = || url.to_string();
        if total > self.largest {
            return Err(Error::TooLarge { url: url(), limit: self.largest });
        }
        let disk = rustix::fs::statvfs(path).map_err(std::io::Error::from);
        let disk = disk.map_err(Error::file("look at the space of", path))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = total.saturating_sub(present);
        if needed.saturating_add(self.reserve) > free {
            return Err(Error::Space { url: url(), needed, free, reserve: self.reserve });
        }
        Ok(())
    }
}

/// How far a try has come.
#[derive(Debug, Default)]
pub struct Progress(Mutex<(u64, Option<u64>)>);

impl Progress {
    /// Bytes that are here, and of how many.
    pub fn get(&self) -> (u64, Option<u64>) {
        *self.0.lock()
    }

    pub(super) fn set(&self, received: u64, total: Option<u64>) {
        *self.0.lock() = (received, total);
    }
}
