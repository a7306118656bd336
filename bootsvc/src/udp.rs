//! UDP sockets that know which of the machine's addresses a datagram was sent to, and answer from it.
//!
//! On a machine with several networks the kernel would otherwise pick the source by route, and
//! firmware drops answers that come from another address than the one it asked.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A received datagram's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Octets received.
    pub len: usize,
    /// Sender.
    pub source: SocketAddrV4,
    /// The address of ours it was sent to (for broadcasts, the interface's own).
    pub local: Ipv4Addr,
}

/// An IPv4 socket with packet information switched on.
#[derive(Debug)]
pub struct AddressedSocket(UdpSocket);

impl AddressedSocket {
    /// Binds `address`.
    pub fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket::setsockopt(&socket, socket::sockopt::Ipv4PacketInfo, &true)?;
        socket.bind(&address.into())?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// The bound address.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }

    /// Receives one datagram.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Envelope> {
        self.0.async_io(Interest::READABLE, || receive_now(&self.0, buffer)).await
    }

    /// Sends one datagram from `local` to `destination`.
    pub async fn send(&self, payload: &[u8], local: Ipv4Addr, destination: SocketAddrV4) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send_now(&self.0, payload, local, destination)).await
    }
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Envelope> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let message = socket::recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let source = message.address.ok_or(io::ErrorKind::InvalidData)?;
    let local = message
        .cmsgs()?
        .find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
            }
            _ => None,
        })
        .unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ok(Envelope { len: message.bytes, source: source.into(), local })
}

fn send_now(
    socket: &UdpSocket,
    payload: &[u8],
    local: Ipv4Addr,
    destination: SocketAddrV4,
) -> io::Result<()> {
    let info = nix::libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from(local).to_be() },
        ipi_addr: nix::libc::in_addr { s_addr: 0 },
    };
    socket::sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(payload)],
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn::from(destination)),
    )?;
    Ok(())
}
