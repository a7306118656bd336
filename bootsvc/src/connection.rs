//! Both ends of a client's TCP connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// Both ends of a connection. IPv4 addresses are in their own form on a socket that serves both families.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    pub peer: SocketAddr,
    /// The address of ours it asked.
    pub local: SocketAddr,
}

impl Connection {
    /// Of a stream from this peer.
    pub fn of(stream: &TcpStream, peer: SocketAddr) -> std::io::Result<Self> {
        let canonical = |address: SocketAddr| match address.ip().to_canonical() {
            v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
            // With its scope: an address of a link says nothing without the link.
            IpAddr::V6(_) => address,
        };
        Ok(Self { peer: canonical(peer), local: canonical(stream.local_addr()?) })
    }
}

/// What counts as one address: one host can have all addresses of an IPv6 network of 64 bits.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// This host's addresses, each with the name of its interface.
pub fn own_addresses() -> impl Iterator<Item = (IpAddr, String)> {
    nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let address = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        Some((address.to_canonical(), entry.interface_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_small_ipv6_network_are_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("fd00::1"), of("fd00::ffff:1"));
        assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
    }
}
