//! Mapped devices (device-mapper): removing one, so that what lies below is free.
//!
//! It never forces: a device in use stays, and the caller gets the error.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Made by devtmpfs where the kernel has device-mapper.
const CONTROL: &str = "/dev/mapper/control";
/// `DM_NAME_LEN`, with its terminating zero.
const NAME: usize = 128;
/// `DM_UUID_LEN`.
const UUID: usize = 129;
/// The interface's version is 4.x.y; the kernel takes any minor that is not newer than its own.
const VERSION: [u32; 3] = [4, 0, 0];

/// `struct dm_ioctl` of linux/dm-ioctl.h.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; NAME],
    uuid: [u8; UUID],
    data: [u8; 7],
}

mod ioctl {
    nix::ioctl_readwrite!(dm_dev_remove, 0xfd, 4, super::Request);
}

/// Why a mapped device is still there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to open {CONTROL}")]
    Control(#[source] io::Error),
    /// No name of a mapped device is that long, or holds a zero byte.
    #[error("failed to take {name:?} as the name of a mapped device")]
    Name { name: String },
    /// The kernel refused; `EBUSY` where something holds it.
    #[error("failed to remove the mapped device {name}")]
    Remove { name: String, source: io::Error },
}

/// Removes the mapped device called `name` (`/sys/block/dm-N/dm/name`).
pub fn remove(name: &str) -> Result<(), Error> {
    let mut request = request(name)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(Path::new(CONTROL))
        .map_err(Error::Control)?;
    // SAFETY: the structure has the layout and the length of the kernel's and outlives the call; `data_size` says that
    // nothing follows it.
    unsafe { ioctl::dm_dev_remove(control.as_raw_fd(), &raw mut request) }
        .map(drop)
        .map_err(|errno| Error::Remove { name: name.to_owned(), source: errno.into() })
}

fn request(name: &str) -> Result<Request, Error> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= NAME || bytes.contains(&0) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let mut field = [0; NAME];
    field[..bytes.len()].copy_from_slice(bytes);
    let size = u32::try_from(size_of::<Request>()).unwrap_or(u32::MAX);
    Ok(Request {
        version: VERSION,
        data_size: size,
        data_start: size,
        target_count: 0,
        open_count: 0,
        flags: 0,
        event_nr: 0,
        padding: 0,
        dev: 0,
        name: field,
        uuid: [0; UUID],
        data: [0; 7],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_kernels_312_bytes_with_a_terminated_name() {
        assert_eq!(size_of::<Request>(), 312);
        let request = request("vg0-root").unwrap();
        assert_eq!(request.data_size, 312);
        assert_eq!(&request.name[..9], b"vg0-root\0");
    }

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["", "a\0b", &"x".repeat(128)] {
            assert!(matches!(remove(name), Err(Error::Name { .. })), "{name:?}");
        }
        assert!(request(&"x".repeat(127)).is_ok());
    }
}
