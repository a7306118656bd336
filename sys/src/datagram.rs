//! Many UDP datagrams with one system call, each with the address of ours it came to or goes out from.
//!
//! IPv4 only. Buffers are made once: nothing here allocates for a datagram. It never waits except for the first
//! datagram of a blocking socket, and never retries.

use std::io::{self, IoSlice};
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Room for one `in_pktinfo` control message: header and content, both aligned to 8 octets.
const CONTROL_WORDS: usize = 4;

type Control = [u64; CONTROL_WORDS];

/// The raw headers of a batch, with pointers to buffers of the same owner.
struct Headers(Vec<libc::mmsghdr>);

// SAFETY: the pointers inside lead to heap memory of the same owner, which moves with it to whatever thread.
#[allow(unsafe_code)]
unsafe impl Send for Headers {}
// SAFETY: as above; a shared reference gives no access to the pointers at all.
#[allow(unsafe_code)]
unsafe impl Sync for Headers {}

/// Whether to wait for the first datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait as long as the socket's receive timeout says; take what else is there.
    ForOne,
    /// Take what is there, or fail with [`io::ErrorKind::WouldBlock`].
    Never,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its octets; those beyond the inbox's length are lost.
    pub payload: &'a [u8],
    /// Sender.
    pub source: SocketAddrV4,
    /// The address of ours it was sent to (for broadcasts, the interface's own); unspecified unless the socket
    /// has `IP_PKTINFO` set.
    pub local: Ipv4Addr,
}

/// Buffers for received datagrams.
pub struct Inbox {
    payloads: Vec<u8>,
    payload_len: usize,
    vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    headers: Headers,
    /// Headers that the last call filled.
    used: usize,
}

// SAFETY: see `Headers`; `vectors` is of the same kind.
#[allow(unsafe_code)]
unsafe impl Send for Inbox {}
// SAFETY: see `Headers`.
#[allow(unsafe_code)]
unsafe impl Sync for Inbox {}

impl Inbox {
    /// Room for `slots` datagrams of `payload_len` octets.
    pub fn new(slots: usize, payload_len: usize) -> Self {
        let mut inbox = Self {
            payloads: vec![0; slots * payload_len],
            payload_len,
            vectors: vec![empty_vector(); slots],
            addresses: vec![any_address(); slots],
            controls: vec![[0; CONTROL_WORDS]; slots],
            headers: Headers(vec![empty_header(); slots]),
            used: 0,
        };
        inbox.point(slots);
        inbox
    }

    /// Makes the first `count` headers name their buffers again. The buffers never move: no vector here grows.
    fn point(&mut self, count: usize) {
        for (index, header) in self.headers.0.iter_mut().take(count).enumerate() {
            let payload = &mut self.payloads[index * self.payload_len..][..self.payload_len];
            self.vectors[index] =
                libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: self.payload_len };
            point(
                header,
                (&raw mut self.vectors[index], 1),
                &raw mut self.addresses[index],
                &mut self.controls[index],
            );
        }
    }

    /// Receives as many datagrams as there are and fit; gives their number.
    pub fn receive(&mut self, socket: &impl AsFd, wait: Wait) -> io::Result<usize> {
        // The kernel shortened the lengths in the headers that it used.
        self.point(self.used);
        self.used = 0;
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::Never => libc::MSG_DONTWAIT,
        };
        let slots = libc::c_uint::try_from(self.headers.0.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: each header points to a buffer, an address and a control block of the length it names; all of
        // them belong to `self`, which is borrowed for the whole call.
        #[allow(unsafe_code)]
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.0.as_mut_ptr(),
                slots,
                flags,
                ptr::null_mut(),
            )
        };
        self.used = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.used)
    }

    /// A datagram of the last [`Self::receive`].
    pub fn get(&self, index: usize) -> Datagram<'_> {
        let header = &self.headers.0[index];
        let len = usize::try_from(header.msg_len).unwrap_or(0).min(self.payload_len);
        Datagram {
            payload: &self.payloads[index * self.payload_len..][..len],
            source: from_raw(&self.addresses[index]),
            local: packet_info(header.msg_hdr.msg_controllen, &self.controls[index]),
        }
    }
}

/// Small datagrams that wait to be sent together; their octets are copied.
pub struct Outbox {
    payloads: Vec<u8>,
    ends: Vec<usize>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_in>,
    controls: Vec<Option<Control>>,
    headers: Headers,
    slots: usize,
}

// SAFETY: see `Headers`; `vectors` is of the same kind.
#[allow(unsafe_code)]
unsafe impl Send for Outbox {}
// SAFETY: see `Headers`.
#[allow(unsafe_code)]
unsafe impl Sync for Outbox {}

impl Outbox {
    /// Room for `slots` datagrams of about `payload_len` octets.
    pub fn new(slots: usize, payload_len: usize) -> Self {
        Self {
            payloads: Vec::with_capacity(slots * payload_len),
            ends: Vec::with_capacity(slots),
            vectors: vec![empty_vector(); slots],
            addresses: Vec::with_capacity(slots),
            controls: Vec::with_capacity(slots),
            headers: Headers(vec![empty_header(); slots]),
            slots,
        }
    }

    /// Whether [`Self::flush`] must be called before the next [`Self::push`].
    pub fn is_full(&self) -> bool {
        self.ends.len() >= self.slots
    }

    /// Adds a datagram made of `parts`, to be sent from `local` or from whatever address the kernel finds best.
    /// Gives false, and adds nothing, when the outbox is full.
    pub fn push(&mut self, parts: &[&[u8]], local: Option<Ipv4Addr>, destination: SocketAddrV4) -> bool {
        if self.is_full() {
            return false;
        }
        for part in parts {
            self.payloads.extend_from_slice(part);
        }
        self.ends.push(self.payloads.len());
        self.addresses.push(to_raw(destination));
        self.controls.push(local.map(control));
        true
    }

    /// Sends everything and empties the outbox. A datagram that the kernel refuses is dropped and the rest still goes out; gives
    /// the number of datagrams sent and the last refusal.
    pub fn flush(&mut self, socket: &impl AsFd) -> (usize, Option<io::Error>) {
        let total = self.ends.len();
        let mut start = 0;
        for index in 0..total {
            let payload = &mut self.payloads[start..self.ends[index]];
            start = self.ends[index];
            self.vectors[index] =
                libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
            let header = &mut self.headers.0[index];
            let vector = (&raw mut self.vectors[index], 1);
            let address = &raw mut self.addresses[index];
            if let Some(control) = &mut self.controls[index] {
                point(header, vector, address, control);
            } else {
                point(header, vector, address, &mut [0; CONTROL_WORDS]);
                header.msg_hdr.msg_control = ptr::null_mut();
                header.msg_hdr.msg_controllen = 0;
            }
        }
        let (mut done, mut sent, mut refusal) = (0, 0, None);
        while done < total {
            let rest = &mut self.headers.0[done..total];
            let len = libc::c_uint::try_from(rest.len()).unwrap_or(libc::c_uint::MAX);
            // SAFETY: each header points to a payload, an address and a control block of `self`, which is borrowed
            // for the whole call.
            #[allow(unsafe_code)]
            let count = unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), rest.as_mut_ptr(), len, 0) };
            match usize::try_from(count) {
                Ok(count) if count > 0 => {
                    done += count;
                    sent += count;
                }
                _ => {
                    refusal = Some(io::Error::last_os_error());
                    done += 1;
                }
            }
        }
        self.payloads.clear();
        self.ends.clear();
        self.addresses.clear();
        self.controls.clear();
        (sent, refusal)
    }
}

/// Sends `parts` as one datagram, or with `segment` as datagrams of that many octets each (the last one may be
/// shorter), without copying them first. Needs Linux 4.18 for segments; some devices refuse them.
pub fn send(
    socket: &impl AsFd,
    parts: &[IoSlice<'_>],
    segment: Option<u16>,
    local: Ipv4Addr,
    destination: SocketAddrV4,
) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(local).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let (fd, to) = (socket.as_fd().as_raw_fd(), SockaddrIn::from(destination));
    let info = ControlMessage::Ipv4PacketInfo(&info);
    match &segment {
        Some(len) => {
            let controls = [info, ControlMessage::UdpGsoSegments(len)];
            sendmsg(fd, parts, &controls, MsgFlags::empty(), Some(&to))
        }
        None => sendmsg(fd, parts, &[info], MsgFlags::empty(), Some(&to)),
    }?;
    Ok(())
}

fn empty_vector() -> libc::iovec {
    libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }
}

fn any_address() -> libc::sockaddr_in {
    to_raw(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all zeros is a valid header: null pointers of length 0.
    #[allow(unsafe_code)]
    unsafe {
        mem::zeroed()
    }
}

/// Makes `header` name these buffers, with their full lengths.
fn point(
    header: &mut libc::mmsghdr,
    (vectors, count): (*mut libc::iovec, usize),
    address: *mut libc::sockaddr_in,
    control: &mut Control,
) {
    header.msg_len = 0;
    header.msg_hdr.msg_name = address.cast();
    header.msg_hdr.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or(0);
    header.msg_hdr.msg_iov = vectors;
    header.msg_hdr.msg_iovlen = count as _;
    header.msg_hdr.msg_control = control.as_mut_ptr().cast();
    header.msg_hdr.msg_controllen = size_of::<Control>() as _;
    header.msg_hdr.msg_flags = 0;
}

fn to_raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn from_raw(raw: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr)), u16::from_be(raw.sin_port))
}

/// Octets of a control message's header: length (8), level (4), type (4).
const CONTROL_HEADER: usize = 16;

/// `IP_PKTINFO` with a source address: header, then interface index, source and an unused address.
fn control(local: Ipv4Addr) -> Control {
    let len = CONTROL_HEADER + size_of::<libc::in_pktinfo>();
    let words = [len as u64, level_and_type(), u64::from(u32::from(local).to_be()) << 32, 0];
    if cfg!(target_endian = "big") { [0; CONTROL_WORDS] } else { words }
}

fn level_and_type() -> u64 {
    let word = |value: libc::c_int| u64::from(value.unsigned_abs());
    word(libc::IPPROTO_IP) | (word(libc::IP_PKTINFO) << 32)
}

/// Reads the control message that [`control`] would write, if it is there.
fn packet_info(len: usize, control: &Control) -> Ipv4Addr {
    let complete = len >= CONTROL_HEADER + size_of::<libc::in_pktinfo>();
    if !complete || control[1] != level_and_type() {
        return Ipv4Addr::UNSPECIFIED;
    }
    let raw = u32::try_from(control[2] >> 32).unwrap_or(0);
    Ipv4Addr::from(u32::from_be(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv4PacketInfo, &true).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 7), port))
    }

    #[test]
    fn a_batch_arrives_with_its_addresses() {
        let (server, address) = pair();
        let (client, back) = pair();
        let mut outbox = Outbox::new(4, 8);
        for number in 0..4u8 {
            assert!(outbox.push(&[b"datagram ", &[number]], Some(Ipv4Addr::new(127, 0, 0, 9)), address));
        }
        assert!(!outbox.push(&[b"one too many"], None, address));
        assert!(matches!(outbox.flush(&client), (4, None)));
        let mut inbox = Inbox::new(3, 64);
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let count = inbox.receive(&server, Wait::ForOne).unwrap();
            for index in 0..count {
                let datagram = inbox.get(index);
                assert_eq!(datagram.local, *address.ip());
                assert_eq!(datagram.source, SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), back.port()));
                seen.push(datagram.payload.to_vec());
            }
        }
        let expected: Vec<Vec<u8>> = (0..4u8).map(|number| [&b"datagram "[..], &[number]].concat()).collect();
        assert_eq!(seen, expected);
        let empty = inbox.receive(&server, Wait::Never).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_refused_datagram_does_not_hold_up_the_next() {
        let (server, address) = pair();
        let mut outbox = Outbox::new(4, 8);
        // No broadcast permission on this socket.
        assert!(outbox.push(&[b"lost"], None, SocketAddrV4::new(Ipv4Addr::BROADCAST, 9)));
        assert!(outbox.push(&[b"kept"], None, address));
        let (sent, refusal) = outbox.flush(&server);
        assert_eq!((sent, refusal.is_some()), (1, true));
        let mut inbox = Inbox::new(2, 2);
        assert_eq!(inbox.receive(&server, Wait::ForOne).unwrap(), 1);
        assert_eq!(inbox.get(0).payload, b"ke", "cut to the inbox's length");
    }

    #[test]
    fn segments_arrive_as_datagrams_of_their_own() {
        let (server, address) = pair();
        let (client, _) = pair();
        let parts = [IoSlice::new(b"1111"), IoSlice::new(b"2222"), IoSlice::new(b"33")];
        send(&client, &parts, Some(4), Ipv4Addr::LOCALHOST, address).unwrap();
        let mut inbox = Inbox::new(8, 64);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let count = inbox.receive(&server, Wait::ForOne).unwrap();
            seen.extend((0..count).map(|index| inbox.get(index).payload.to_vec()));
        }
        assert_eq!(seen, [&b"1111"[..], b"2222", b"33"]);
    }
}
