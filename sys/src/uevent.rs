//! The kernel's device events: a way to wait for hardware without asking again and again.
//!
//! No waiter relies on events alone: the kernel may lose some, so every waiter looks again after a while.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::os::fd::AsRawFd;

/// Multicast group 1 of `NETLINK_KOBJECT_UEVENT`: the kernel's own events (group 2 is udev's).
const KERNEL_EVENTS: u32 = 1;
/// The kernel's `UEVENT_BUFFER_SIZE` is 2048 bytes plus a path.
const MAX_EVENT: usize = 8192;
/// Most events drained at one wake-up; a storm must not keep the waiter from its work.
const MAX_DRAIN: usize = 1024;

/// A listener for device events.
#[derive(Debug)]
pub struct Uevents {
    socket: Option<OwnedFd>,
}

impl Uevents {
    /// Listens. Where the socket cannot be had (a container), [`Self::wait`] only waits.
    pub fn listen() -> Self {
        Self { socket: open().inspect_err(|errno| tracing::debug!(%errno, "no device events")).ok() }
    }

    /// Waits for an event, at most `limit`. Returns whether there was one.
    pub fn wait(&self, limit: Duration) -> bool {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let Some(socket) = &self.socket else {
            // Nothing to listen to: the time passes all the same.
            let _ = poll(&mut [], timeout);
            return false;
        };
        let ready = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout);
        if !matches!(ready, Ok(count) if count > 0) {
            return false;
        }
        let mut event = [0; MAX_EVENT];
        for _ in 0..MAX_DRAIN {
            match recv(socket.as_raw_fd(), &mut event, MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: the kernel lost events, which counts as one.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        true
    }

    /// For event loops: readable when there are events; call [`Self::wait`] with zero then.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkKObjectUEvent)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_EVENTS))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn waits_no_longer_than_asked_without_a_socket() {
        let started = Instant::now();
        assert!(!Uevents { socket: None }.wait(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn hears_a_synthetic_event() {
        let trigger = std::path::Path::new("/sys/class/mem/null/uevent");
        let events = Uevents::listen();
        if events.fd().is_none() || std::fs::write(trigger, "add").is_err() {
            assert!(
                std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
                "no device events here: run this test as root of its host, or leave out what cannot run here with \
                 BLOOMERY_INCOMPLETE_TESTS=1"
            );
            return;
        }
        assert!(events.wait(Duration::from_secs(5)));
    }
}
