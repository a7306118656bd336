//! Where simulated machines live, and the check that they cannot reach anybody else.
//!
//! On loopback they have addresses of 127.80.0.0/16, in a lab those of 10.78.0.0/16: the lab is the plane's router, and
//! one local route makes the whole prefix its own. Every socket is bound to its machine's address.

use super::config::{PER_SUBNET, Target};
use crate::{
    contract::{LAB_ADDRESS, NETMASK, SUBNET},
    net::BRIDGE,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// First two octets of the machines' addresses on loopback.
const LOOPBACK: [u8; 2] = [127, 80];
/// The same in a lab: the subnet beside the plane's.
const LAB: [u8; 2] = [10, 78];
/// Host part of each subnet's DHCP relay.
const RELAY: u8 = 1;
/// Host part of each subnet's first machine.
const FIRST_HOST: u8 = 2;
/// Open files beside those of machines.
const OTHER_FILES: u64 = 256;
/// Files one machine has open at a time: a connection, its answer to a power command, some to spare.
const FILES_PER_MACHINE: u64 = 3;

/// The machines' network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    prefix: [u8; 2],
}

impl Network {
    /// The network from which `target` may be spoken to, made ready.
    ///
    /// # Errors
    /// The target is neither on loopback nor in the private network of a lab that this process is in.
    pub fn prepare(target: &Target, machines: u32) -> Result<Self> {
        let network = if target.address.is_loopback() {
            Self { prefix: LOOPBACK }
        } else {
            ensure_private(target.address)?;
            let network = Self { prefix: LAB };
            network.route()?;
            network
        };
        raise_file_limit(machines)?;
        Ok(network)
    }

    /// The address of machine `index`.
    pub fn machine(self, index: u32) -> Ipv4Addr {
        let [a, b] = self.prefix;
        // Both fit: a configuration has at most 256 subnets of 250 machines.
        let subnet = u8::try_from(index / PER_SUBNET).unwrap_or(u8::MAX);
        let host = u8::try_from(index % PER_SUBNET).unwrap_or_default();
        Ipv4Addr::new(a, b, subnet, FIRST_HOST.saturating_add(host))
    }

    /// The DHCP relay of the subnet of machine `index`.
    pub fn relay(self, index: u32) -> Ipv4Addr {
        let [a, b, subnet, _] = self.machine(index).octets();
        Ipv4Addr::new(a, b, subnet, RELAY)
    }

    /// The machine that has `address`.
    pub fn index_of(self, address: Ipv4Addr) -> Option<u32> {
        let [a, b, subnet, host] = address.octets();
        let host = u32::from(host.checked_sub(FIRST_HOST)?);
        ([a, b] == self.prefix && host < PER_SUBNET).then(|| u32::from(subnet) * PER_SUBNET + host)
    }

    /// Makes the whole prefix an address of this network namespace.
    fn route(self) -> Result<()> {
        let [a, b] = self.prefix;
        let prefix = format!("{a}.{b}.0.0/16");
        let output = std::process::Command::new("ip")
            .args(["route", "replace", "local", &prefix, "dev", "lo"])
            .output()
            .context("failed to start ip (Debian package iproute2)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "failed to make {prefix} local: {}", said.trim());
        Ok(())
    }
}

/// A TCP connection from a machine's own address.
pub(super) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A port is taken per connection, not per address: sixty thousand machines need no port of their own each.
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A UDP socket at a machine's own address.
pub(super) async fn datagrams(from: Ipv4Addr) -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddrV4::new(from, 0)).await
}

/// Fails unless this is the network namespace of a lab, which has no way out, and `address` is in it.
fn ensure_private(address: Ipv4Addr) -> Result<()> {
    let in_subnet = address.to_bits() & NETMASK.to_bits() == SUBNET.to_bits();
    let routes = std::fs::read_to_string("/proc/self/net/route").context("failed to read the routes")?;
    if !in_subnet || !is_lab(&routes) {
        bail!(
            "failed to simulate machines at {address}: only a plane on loopback or in the private network of a lab is \
             spoken to (`bloomery lab simulate N --out DIR` joins the lab that runs in DIR)"
        );
    }
    // The bridge is there; its address has to be ours, too.
    std::net::UdpSocket::bind(SocketAddrV4::new(LAB_ADDRESS, 0)).map(drop).with_context(|| {
        format!("failed to find the lab's address {LAB_ADDRESS}: this is not its network namespace")
    })
}

/// Whether the text of `/proc/net/route` is a lab's: routes through its bridge only, and none through a gateway.
fn is_lab(routes: &str) -> bool {
    let mut lines =
        routes.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).peekable();
    lines.peek().is_some()
        && lines.all(|fields| {
            let (device, gateway) = (fields.first(), fields.get(2));
            device == Some(&BRIDGE)
                && gateway.is_some_and(|gateway| gateway.bytes().all(|digit| digit == b'0'))
        })
}

/// Each machine needs files of its own; the usual limit is 1,024 for all.
fn raise_file_limit(machines: u32) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(machines) * FILES_PER_MACHINE + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        allowed >= needed,
        "failed to open enough files for {machines} machines: {needed} are needed, {allowed} allowed (ulimit -Hn)"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .context("failed to raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::MAX_MACHINES;

    #[test]
    fn every_machine_has_an_address_of_its_own_and_is_found_by_it() {
        let network = Network { prefix: LAB };
        for index in [0, 1, 249, 250, 4_999, MAX_MACHINES - 1] {
            assert_eq!(network.index_of(network.machine(index)), Some(index));
        }
        assert_eq!(network.machine(251), Ipv4Addr::new(10, 78, 1, 3));
        assert_eq!(network.relay(251), Ipv4Addr::new(10, 78, 1, 1));
        for stranger in [network.relay(0), Ipv4Addr::new(10, 78, 0, 252), Ipv4Addr::new(10, 77, 0, 2)] {
            assert_eq!(network.index_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn only_a_network_without_a_way_out_counts_as_a_labs() {
        let head = "Iface\tDestination\tGateway\tFlags\n";
        let bridge = "br0\t00004D0A\t00000000\t0001\n";
        assert!(is_lab(&format!("{head}{bridge}")));
        for routes in [
            String::new(),
            head.to_owned(),
            format!("{head}{bridge}br0\t00000000\t0100A8C0\t0003\n"),
            format!("{head}{bridge}eth0\t0000A8C0\t00000000\t0001\n"),
        ] {
            assert!(!is_lab(&routes), "{routes:?}");
        }
    }

    #[test]
    fn a_plane_outside_of_loopback_and_labs_is_refused() {
        for address in [[192, 0, 2, 1], [8, 8, 8, 8], [10, 77, 0, 100]] {
            let error = Network::prepare(&Target::new(address.into()), 1).expect_err("no lab");
            assert!(error.to_string().contains("failed to"), "{error}");
        }
        let network = Network::prepare(&Target::new(Ipv4Addr::LOCALHOST), 1).expect("loopback");
        assert!(network.machine(0).is_loopback());
    }
}
