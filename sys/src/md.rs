//! Software arrays: stopping one, so that its members are free.
//!
//! It never touches a member: the caller decides about the data on it.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

mod ioctl {
    //! `linux/raid/md_u.h`; 9 is `MD_MAJOR`.
    nix::ioctl_none!(stop_array, 9, 0x32);
}

/// Why an array goes on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to open the array {node:?}")]
    Open {
        node: PathBuf,
        /// The cause; `EBUSY` where something holds it.
        source: io::Error,
    },
    #[error("failed to stop the array {node:?}")]
    Stop { node: PathBuf, source: io::Error },
}

/// Stops the array; nothing may hold it.
pub fn stop(node: &Path) -> Result<(), Error> {
    let device = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_CLOEXEC)
        .open(node)
        .map_err(|source| Error::Open { node: node.into(), source })?;
    // SAFETY: the request has no argument.
    unsafe { ioctl::stop_array(device.as_raw_fd()) }
        .map(drop)
        .map_err(|errno| Error::Stop { node: node.into(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_array_is_not_stopped() {
        assert!(matches!(stop(Path::new("/dev/null")), Err(Error::Stop { .. })));
        assert!(matches!(stop(Path::new("/nonexistent")), Err(Error::Open { .. })));
    }
}
