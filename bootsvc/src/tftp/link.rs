//! The TFTP socket: datagrams in and out in batches, whole windows with one system call.
//!
//! It knows nothing of files and options.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use bloomery_sys::datagram::{self, Inbox, Outbox, Wait};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::transfer::{DEFAULT_MTU, HEADERS, MAX_WINDOW_SIZE, Transfer};
use super::wire::DATA_HEADER_LEN;

/// Datagrams received or sent with one call.
const BATCH: usize = 64;
/// Largest datagram a client has reason to send: a request of 512 octets and its opcode.
const RECEIVE_LEN: usize = 1024;
/// Usual length of a datagram that is sent by itself.
const SEND_LEN: usize = 1500;
/// Largest UDP payload, so the most that segments of one call may hold together.
const MAX_PAYLOAD: usize = 65_507;
/// Kernel buffers: 300 clients with a full window each must fit.
const SOCKET_BUFFER: usize = 8 << 20;

/// Both ends of a transfer: one client may use two of our addresses.
pub type Peer = (SocketAddrV4, Ipv4Addr);

/// The socket and what waits to be sent on it.
pub struct Link {
    socket: UdpSocket,
    outbox: Outbox,
    segments: bool,
}

impl Link {
    /// Binds `address`; a receive call waits `patience` at most.
    pub fn bind(address: SocketAddrV4, patience: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.set_read_timeout(Some(patience))?;
        // Beyond the system's limit only with CAP_NET_ADMIN; the limit will do without.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
            socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
            socket.set_send_buffer_size(SOCKET_BUFFER)?;
        }
        // A device that stands still must not hold up the transfers through others.
        socket.set_write_timeout(Some(patience))?;
        socket.bind(&address.into())?;
        Ok(Self { socket: socket.into(), outbox: Outbox::new(BATCH, SEND_LEN), segments: true })
    }

    /// Buffers for [`Self::receive`].
    pub fn inbox() -> Inbox {
        Inbox::new(BATCH, RECEIVE_LEN)
    }

    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for datagrams; 0 when none came in time.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        match inbox.receive(&self.socket, Wait::ForOne) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(0)
            }
            other => other,
        }
    }

    /// MTU of the path to `client`, as the routing table and earlier ICMP messages have it.
    pub fn mtu(client: SocketAddrV4) -> u32 {
        // Made for the question and gone with it: one that stayed would be a port that listens.
        let ask = || -> io::Result<i32> {
            let probe = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            probe.connect(&client.into())?;
            Ok(getsockopt(&probe, sockopt::IpMtu)?)
        };
        ask().ok().and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(DEFAULT_MTU)
    }

    /// Puts one datagram into the next batch.
    pub fn send(&mut self, (client, local): Peer, parts: &[&[u8]]) {
        if self.outbox.is_full() {
            self.flush();
        }
        self.outbox.push(parts, Some(local), client);
    }

    /// Sends blocks of a transfer, as few calls as the kernel allows.
    pub fn send_blocks(&mut self, peer: Peer, transfer: &Transfer, blocks: std::ops::Range<u64>, mtu: u32) {
        let len = transfer.packet_len();
        let fits = u32::try_from(len).is_ok_and(|len| len + (HEADERS - 4) <= mtu);
        let at_once = (MAX_PAYLOAD / len).min(usize::from(MAX_WINDOW_SIZE)) as u64;
        if blocks.end - blocks.start < 2 || at_once < 2 || !fits || !self.segments {
            for index in blocks {
                let (header, content) = transfer.block(index);
                self.send(peer, &[&header, content]);
            }
            return;
        }
        // Order matters to clients: what waits for this one goes first.
        self.flush();
        let mut start = blocks.start;
        while start < blocks.end {
            let end = (start + at_once).min(blocks.end);
            if let Err(error) = self.send_segments(peer, transfer, start..end) {
                tracing::debug!(client = %peer.0, %error, "segments refused, blocks are sent one by one");
                // A device without checksum offload says so by this; any other error would come again.
                self.segments = error.raw_os_error() != Some(nix::libc::EIO);
                for index in start..end {
                    let (header, content) = transfer.block(index);
                    self.send(peer, &[&header, content]);
                }
            }
            start = end;
        }
    }

    fn send_segments(
        &self,
        (client, local): Peer,
        transfer: &Transfer,
        blocks: std::ops::Range<u64>,
    ) -> io::Result<()> {
        const MOST: usize = MAX_WINDOW_SIZE as usize;
        let first = blocks.start;
        let count = usize::try_from(blocks.end - first).unwrap_or(MOST).min(MOST);
        let mut headers = [[0; DATA_HEADER_LEN]; MOST];
        for (header, index) in headers.iter_mut().zip(blocks.clone()) {
            *header = transfer.block(index).0;
        }
        let mut parts = [IoSlice::new(&[]); 2 * MOST];
        for (at, index) in blocks.take(count).enumerate() {
            parts[2 * at] = IoSlice::new(&headers[at]);
            parts[2 * at + 1] = IoSlice::new(transfer.block(index).1);
        }
        let segment = u16::try_from(transfer.packet_len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        datagram::send(&self.socket, &parts[..2 * count], Some(segment), local, client)
    }

    /// Sends the batch. A datagram that cannot be sent is as good as lost; the retries deal with it.
    pub fn flush(&mut self) {
        if let (_, Some(error)) = self.outbox.flush(&self.socket) {
            tracing::debug!(%error, "tftp packet not sent");
        }
    }
}
