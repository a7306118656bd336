//! What parent and launcher say to each other: one octet, with a number or three descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

const START: u8 = b'S';
const END: u8 = b'E';
const STARTED: u8 = b's';
const FAILED: u8 = b'f';
const ENDED: u8 = b'e';
const NONE_RAN: u8 = b'n';
/// One octet and a number.
const LENGTH: usize = 5;

/// From the parent.
#[derive(Debug)]
pub(super) enum Order {
    /// Start the program with these streams.
    Start([OwnedFd; 3]),
    /// End it.
    End,
}

/// From the launcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It runs.
    Started,
    /// It could not be executed: the error number.
    Failed(i32),
    /// It does not run any more: its status as wait(2) gives it, if one was started.
    Ended(Option<i32>),
}

/// Messages keep their bounds, and the end of one side is seen by the other.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(super) fn set_patience(socket: &OwnedFd, patience: Duration) -> io::Result<()> {
    for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(socket, direction, Some(patience))?;
    }
    Ok(())
}

pub(super) fn send_order(socket: impl AsFd, order: &Order) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors;
    let octet = match order {
        Order::Start(streams) => {
            descriptors = streams.each_ref().map(AsFd::as_fd);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            START
        }
        Order::End => END,
    };
    let sent = sendmsg(socket, &[IoSlice::new(&[octet])], &mut control, SendFlags::NOSIGNAL)?;
    if sent == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Nothing when the parent is gone.
pub(super) fn receive_order(socket: impl AsFd) -> io::Result<Option<Order>> {
    let mut octet = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffer = &mut [IoSliceMut::new(&mut octet)];
        match recvmsg(&socket, buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    match (received.bytes, octet[0]) {
        (0, _) => Ok(None),
        (_, END) => Ok(Some(Order::End)),
        (_, START) => match descriptors.try_into() {
            Ok(streams) => Ok(Some(Order::Start(streams))),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

pub(super) fn send_reply(socket: impl AsFd, reply: &Reply) -> io::Result<()> {
    let (octet, number) = match reply {
        Reply::Started => (STARTED, 0),
        Reply::Failed(errno) => (FAILED, *errno),
        Reply::Ended(Some(status)) => (ENDED, *status),
        Reply::Ended(None) => (NONE_RAN, 0),
    };
    let mut message = [octet; LENGTH];
    message[1..].copy_from_slice(&number.to_le_bytes());
    let sent = rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
    if sent == LENGTH { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

pub(super) fn receive_reply(socket: impl AsFd) -> io::Result<Reply> {
    let mut message = [0; LENGTH];
    let (_, received) = loop {
        match rustix::net::recv(&socket, &mut message, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let [octet, number @ ..] = message;
    let number = i32::from_le_bytes(number);
    match (received, octet) {
        (LENGTH, STARTED) => Ok(Reply::Started),
        (LENGTH, FAILED) => Ok(Reply::Failed(number)),
        (LENGTH, ENDED) => Ok(Reply::Ended(Some(number))),
        (LENGTH, NONE_RAN) => Ok(Reply::Ended(None)),
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_replies_arrive_as_they_were_sent() {
        let (parent, launcher) = pair().unwrap();
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        send_order(&parent, &Order::Start([null(), null(), null()])).unwrap();
        send_order(&parent, &Order::End).unwrap();
        assert!(matches!(receive_order(&launcher).unwrap(), Some(Order::Start(_))));
        assert!(matches!(receive_order(&launcher).unwrap(), Some(Order::End)));
        for reply in [Reply::Started, Reply::Failed(2), Reply::Ended(Some(9)), Reply::Ended(None)] {
            send_reply(&launcher, &reply).unwrap();
            assert_eq!(receive_reply(&parent).unwrap(), reply);
        }
    }

    #[test]
    fn each_side_sees_the_end_of_the_other_and_refuses_what_it_does_not_know() {
        let (parent, launcher) = pair().unwrap();
        rustix::net::send(&parent, b"?", SendFlags::empty()).unwrap();
        assert!(receive_order(&launcher).is_err());
        // A start without descriptors.
        rustix::net::send(&parent, &[START], SendFlags::empty()).unwrap();
        assert!(receive_order(&launcher).is_err());
        rustix::net::send(&launcher, b"?", SendFlags::empty()).unwrap();
        assert!(receive_reply(&parent).is_err());
        drop(parent);
        assert!(receive_order(&launcher).unwrap().is_none());
        let (parent, launcher) = pair().unwrap();
        drop(launcher);
        assert!(receive_reply(&parent).is_err());
    }
}
