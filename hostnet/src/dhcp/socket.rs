//! The client's UDP socket: port 68 on one link, usable before the link has an address.
//!
//! Broadcast answers reach it without an address only while `rp_filter` is off for the link, which is
//! the kernel's default. It must never receive or send over another link.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::SendTo;

/// RFC 2131 §4.1.
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// A step of making the socket that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step} for DHCP on {link}")]
pub(super) struct Error {
    step: &'static str,
    link: String,
    source: std::io::Error,
}

/// Opens the socket. Needs `CAP_NET_BIND_SERVICE` in the network namespace's user namespace.
pub(super) fn open(link: &str) -> Result<UdpSocket, Error> {
    let error = |step| move |source| Error { step, link: link.to_owned(), source };
    let socket =
        Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).map_err(error("open a socket"))?;
    // Clients of other links hold the same port.
    socket.set_reuse_address(true).map_err(error("share port 68"))?;
    socket.set_broadcast(true).map_err(error("allow broadcasts"))?;
    socket.bind_device(Some(link.as_bytes())).map_err(error("bind a socket to the link"))?;
    socket.set_nonblocking(true).map_err(error("make a socket non-blocking"))?;
    let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    socket.bind(&local.into()).map_err(error("bind port 68"))?;
    UdpSocket::from_std(socket.into()).map_err(error("register a socket"))
}

/// Where a packet goes.
pub(super) fn destination(to: SendTo) -> SocketAddr {
    let address = match to {
        SendTo::Broadcast => Ipv4Addr::BROADCAST,
        SendTo::Server(server) => server,
    };
    (address, SERVER_PORT).into()
}
