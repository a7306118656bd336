//! The machine's own BMC through `/dev/ipmi0`: one request, one answer (linux/ipmi.h).
//!
//! It never waits for ever: a BMC that is busy or dead costs a bounded wait. The caller knows what the bytes mean.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The first BMC's node, made by the module `ipmi_devintf`.
pub const DEVICE: &str = "/dev/ipmi0";
/// `IPMI_MAX_MSG_LENGTH`.
const MAX_MESSAGE: usize = 272;
/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE`.
const SYSTEM_INTERFACE: i32 = 0x0c;
/// `IPMI_BMC_CHANNEL`.
const BMC_CHANNEL: i16 = 0x0f;
/// `IPMI_RESPONSE_RECV_TYPE`.
const RESPONSE: i32 = 1;

/// `struct ipmi_system_interface_addr`.
#[repr(C)]
struct Address {
    addr_type: i32,
    channel: i16,
    lun: u8,
}

/// `struct ipmi_msg`.
#[repr(C)]
struct Message {
    netfn: u8,
    cmd: u8,
    data_len: u16,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct Request {
    addr: *mut Address,
    addr_len: u32,
    msgid: libc::c_long,
    msg: Message,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct Receive {
    recv_type: i32,
    addr: *mut u8,
    addr_len: u32,
    msgid: libc::c_long,
    msg: Message,
}

mod ioctl {
    nix::ioctl_readwrite!(receive_msg_trunc, b'i', 11, super::Receive);
    // _IOR by the header, though the kernel reads.
    nix::ioctl_read!(send_command, b'i', 13, super::Request);
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to open {DEVICE}")]
    Open(#[source] io::Error),
    #[error("failed to send a request to the BMC")]
    Send(#[source] io::Error),
    #[error("failed to receive the BMC's answer")]
    Receive(#[source] io::Error),
    #[error("failed to get an answer from the BMC within {limit:?}")]
    Silent { limit: Duration },
}

/// An open way to the BMC.
#[derive(Debug)]
pub struct Device {
    file: File,
    next: libc::c_long,
}

impl Device {
    /// Opens `/dev/ipmi0`; `None` if there is none.
    pub fn open() -> Result<Option<Self>, Error> {
        Self::open_node(Path::new(DEVICE))
    }

    fn open_node(node: &Path) -> Result<Option<Self>, Error> {
        match OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(node) {
            Ok(file) => Ok(Some(Self { file, next: 1 })),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENXIO) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::Open(error)),
        }
    }

    /// Sends one request and waits for its answer: the completion code and what follows it.
    pub fn request(
        &mut self,
        netfn: u8,
        command: u8,
        data: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Error> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.send(id, netfn, command, data)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Silent { limit });
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Receive(errno.into())),
            }
            // An answer that comes too late for the request before, or an event, is not ours.
            if let Some((kind, msgid, answer)) = self.receive()?
                && kind == RESPONSE
                && msgid == id
            {
                return Ok(answer);
            }
        }
    }

    fn send(&self, id: libc::c_long, netfn: u8, command: u8, data: &[u8]) -> Result<(), Error> {
        let mut address = Address { addr_type: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
        let mut bytes = data.to_vec();
        let too_long = || Error::Send(io::ErrorKind::InvalidInput.into());
        let mut request = Request {
            addr: &raw mut address,
            addr_len: u32::try_from(size_of::<Address>()).map_err(|_| too_long())?,
            msgid: id,
            msg: Message {
                netfn,
                cmd: command,
                data_len: u16::try_from(bytes.len()).map_err(|_| too_long())?,
                data: bytes.as_mut_ptr(),
            },
        };
        // SAFETY: the structures have the layout of the kernel's; the address and the data that they point to outlive
        // the call, which only reads them, and have the lengths given.
        unsafe { ioctl::send_command(self.file.as_raw_fd(), &raw mut request) }
            .map(drop)
            .map_err(|errno| Error::Send(errno.into()))
    }

    /// Takes one message: its kind, its number, its data. None if there is none now.
    fn receive(&self) -> Result<Option<(i32, libc::c_long, Vec<u8>)>, Error> {
        let mut address = [0_u8; 40];
        let mut data = vec![0_u8; MAX_MESSAGE];
        let mut receive = Receive {
            recv_type: 0,
            addr: address.as_mut_ptr(),
            addr_len: u32::try_from(address.len()).unwrap_or_default(),
            msgid: 0,
            msg: Message {
                netfn: 0,
                cmd: 0,
                data_len: u16::try_from(data.len()).unwrap_or_default(),
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the structures have the layout of the kernel's; both buffers outlive the call and have the lengths
        // given, beyond which the kernel does not write.
        match unsafe { ioctl::receive_msg_trunc(self.file.as_raw_fd(), &raw mut receive) } {
            // EMSGSIZE: an answer longer than any that is asked for, cut to the buffer.
            Ok(_) | Err(Errno::EMSGSIZE) => {
                data.truncate(usize::from(receive.msg.data_len));
                Ok(Some((receive.recv_type, receive.msgid, data)))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(Error::Receive(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<Address>(), 8);
        assert_eq!(size_of::<Message>(), 16);
        assert_eq!(size_of::<Request>(), 40);
        assert_eq!(size_of::<Receive>(), 48);
    }

    #[test]
    fn no_node_is_no_error_and_no_bmc_is() {
        assert!(Device::open_node(Path::new("/nonexistent/ipmi0")).unwrap().is_none());
        let mut device = Device::open_node(Path::new("/dev/null")).unwrap().unwrap();
        let error = device.request(6, 1, &[], Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, Error::Send(_)), "{error:?}");
    }
}
