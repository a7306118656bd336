//! The requests of linux/fs.h that erase. They are reachable only through an exclusively opened disk.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::os::fd::{AsRawFd, BorrowedFd};

mod raw {
    nix::ioctl_read_bad!(blkroget, libc::_IO(0x12, 94), libc::c_int);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_write_ptr_bad!(blkdiscard, libc::_IO(0x12, 119), [u64; 2]);
    nix::ioctl_read_bad!(blkdiscardzeroes, libc::_IO(0x12, 124), libc::c_uint);
    nix::ioctl_write_ptr_bad!(blksecdiscard, libc::_IO(0x12, 125), [u64; 2]);
    nix::ioctl_write_ptr_bad!(blkzeroout, libc::_IO(0x12, 127), [u64; 2]);
}

pub(super) fn is_read_only(device: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut answer = 0;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes one `int`.
    unsafe { raw::blkroget(device.as_raw_fd(), &raw mut answer) }?;
    Ok(answer != 0)
}

pub(super) fn drop_buffers(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the request has no argument.
    unsafe { raw::blkflsbuf(device.as_raw_fd()) }.map(drop)
}

pub(super) fn discard_zeroes(device: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut answer = 0;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes one `unsigned int`.
    unsafe { raw::blkdiscardzeroes(device.as_raw_fd(), &raw mut answer) }?;
    Ok(answer != 0)
}

/// `range` is start and length in bytes, for all three.
pub(super) fn discard(device: BorrowedFd<'_>, range: [u64; 2]) -> nix::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads two 64-bit numbers.
    unsafe { raw::blkdiscard(device.as_raw_fd(), &raw const range) }.map(drop)
}

pub(super) fn discard_securely(device: BorrowedFd<'_>, range: [u64; 2]) -> nix::Result<()> {
    // SAFETY: as above.
    unsafe { raw::blksecdiscard(device.as_raw_fd(), &raw const range) }.map(drop)
}

pub(super) fn zero_out(device: BorrowedFd<'_>, range: [u64; 2]) -> nix::Result<()> {
    // SAFETY: as above.
    unsafe { raw::blkzeroout(device.as_raw_fd(), &raw const range) }.map(drop)
}
