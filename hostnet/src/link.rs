//! Links, their addresses and IPv4 routes, by rtnetlink.
//!
//! It must never choose which link to use or which address to give; callers do, and it must never
//! remove anything that it was not told to remove.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
pub use ipnet::{IpNet, Ipv4Net};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

mod read;
mod watch;

pub use watch::{Change, Watch};

use crate::MacAddr;

/// Errno that says "there already is one like it" (Linux `EEXIST`).
const EEXIST: i32 = 17;
/// Errnos that say "it is gone already": `ESRCH` for routes, `EADDRNOTAVAIL` for addresses, `ENODEV` for links.
const GONE: [i32; 3] = [3, 99, 19];

/// Kind of a link's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// An Ethernet device with a driver of its own: a real or a virtual machine's network card.
    Ethernet,
    /// Made by software, with the kernel's word for its kind: `veth`, `bridge`, `vlan`, `wireguard` …
    Virtual(String),
    /// Anything else (Infiniband, tunnels without a kind …).
    Other,
}

/// One network interface as the kernel sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Kernel index, stable until the device goes.
    pub index: u32,
    /// Name, for example `eth0`.
    pub name: String,
    /// Hardware address, if it has one of 48 bits that is not all zero.
    pub mac: Option<MacAddr>,
    /// Kind of device.
    pub kind: LinkKind,
    /// The kernel's `IFF_*` bits.
    pub flags: u32,
    /// Whether the physical layer is connected.
    pub carrier: bool,
    /// How often the carrier came: tells of a cable that was moved faster than the kernel reports.
    pub carrier_ups: u32,
    /// Bytes.
    pub mtu: u32,
    /// Addresses with their prefix length, both families.
    pub addresses: Vec<IpNet>,
}

/// `IFF_UP`: set up by the administrator.
pub const FLAG_UP: u32 = 0x1;
/// `IFF_BROADCAST`.
pub const FLAG_BROADCAST: u32 = 0x2;
/// `IFF_LOOPBACK`.
pub const FLAG_LOOPBACK: u32 = 0x8;
/// `IFF_POINTOPOINT`.
pub const FLAG_POINT_TO_POINT: u32 = 0x10;
/// `IFF_RUNNING`: operational.
pub const FLAG_RUNNING: u32 = 0x40;
/// `IFF_MULTICAST`.
pub const FLAG_MULTICAST: u32 = 0x1000;
/// `IFF_LOWER_UP`: the physical layer is connected.
pub const FLAG_LOWER_UP: u32 = 0x1_0000;

impl Link {
    /// Whether the administrator (or we) set it up.
    pub fn is_up(&self) -> bool {
        self.flags & FLAG_UP != 0
    }
}

/// One IPv4 route over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination; `0.0.0.0/0` is the default route.
    pub destination: Ipv4Net,
    /// Next hop; none when the destination is on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the next hop is reached directly although no prefix of the link covers it.
    pub onlink: bool,
    /// Priority: the lowest wins. Routes that differ in it can stand side by side.
    pub metric: u32,
}

/// Why something could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to open a netlink socket")]
    Open { source: std::io::Error },
    #[error("failed to {operation}{}", on(*.index))]
    Request {
        /// What was asked, as a verb phrase.
        operation: &'static str,
        /// The link it was asked of; 0 when it was none in particular.
        index: u32,
        source: rtnetlink::Error,
    },
    #[error("failed to find a link with index {index}")]
    NoLink { index: u32 },
    /// The watch ended: its netlink socket failed.
    #[error("failed to go on watching links and addresses")]
    WatchEnded,
}

fn on(index: u32) -> String {
    if index == 0 { String::new() } else { format!(" on the link with index {index}") }
}

impl Error {
    /// The kernel's errno, when that is what failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Request { source: rtnetlink::Error::NetlinkError(message), .. } => {
                message.code.map(|code| -code.get())
            }
            Self::Open { source } => source.raw_os_error(),
            Self::Request { .. } | Self::NoLink { .. } | Self::WatchEnded => None,
        }
    }

    fn request(operation: &'static str, index: u32) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| Self::Request { operation, index, source }
    }
}

/// A netlink connection of this network namespace. Cheap to clone; must be made inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens the connection and starts the task that serves it until the last clone is dropped.
    pub fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|source| Error::Open { source })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// All links with their addresses, ordered by index.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let messages: Vec<_> = (self.handle.link().get().execute())
            .try_collect()
            .await
            .map_err(Error::request("list links", 0))?;
        let mut links: Vec<Link> = messages.iter().map(read::link).collect();
        links.sort_by_key(|link| link.index);
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.map_err(Error::request("list addresses", 0))? {
            let (index, address) = (message.header.index, read::address(&message));
            if let (Some(link), Some(address)) = (links.iter_mut().find(|link| link.index == index), address)
            {
                link.addresses.push(address);
            }
        }
        Ok(links)
    }

    /// The link with this index.
    pub async fn link(&self, index: u32) -> Result<Link, Error> {
        let links = self.links().await?;
        links.into_iter().find(|link| link.index == index).ok_or(Error::NoLink { index })
    }

    /// The link with this hardware address; a device before anything made by software
    /// (a bridge or a VLAN has the address of its port).
    pub async fn find_by_mac(&self, mac: MacAddr) -> Result<Option<Link>, Error> {
        let mut found: Vec<Link> = self.links().await?;
        found.retain(|link| link.mac == Some(mac));
        found.sort_by_key(|link| link.kind != LinkKind::Ethernet);
        Ok(found.into_iter().next())
    }

    /// Sets the link up, as `ip link set … up`.
    pub async fn set_up(&self, index: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).up().build();
        (self.handle.link().set(message).execute().await).map_err(Error::request("set up", index))
    }

    /// Sets the link's MTU in bytes.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        (self.handle.link().set(message).execute().await).map_err(Error::request("set the MTU", index))
    }

    /// Gives the link an address, or does nothing if it has it already.
    pub async fn put_address(&self, index: u32, address: IpNet) -> Result<(), Error> {
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        match request.replace().execute().await.map_err(Error::request("add an address", index)) {
            Err(error) if error.errno() == Some(EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    /// Takes an address from the link, or does nothing if it is gone already.
    pub async fn remove_address(&self, index: u32, address: IpNet) -> Result<(), Error> {
        let request = self.handle.address().del(address_message(index, address));
        gone_is_fine(request.execute().await.map_err(Error::request("remove an address", index)))
    }

    /// Adds the route, or replaces the one with the same destination and metric.
    pub async fn put_route(&self, index: u32, route: &Route) -> Result<(), Error> {
        let request = self.handle.route().add(route_message(index, route)).replace();
        request.execute().await.map_err(Error::request("add a route", index))
    }

    /// Removes the route, or does nothing if it is gone already.
    pub async fn remove_route(&self, index: u32, route: &Route) -> Result<(), Error> {
        let request = self.handle.route().del(route_message(index, route));
        gone_is_fine(request.execute().await.map_err(Error::request("remove a route", index)))
    }
}

fn gone_is_fine(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.errno().is_some_and(|errno| GONE.contains(&errno)) => Ok(()),
        outcome => outcome,
    }
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    match address.addr() {
        IpAddr::V4(host) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(host, address.prefix_len()).build()
        }
        IpAddr::V6(host) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(host, address.prefix_len()).build()
        }
    }
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .output_interface(index)
        .destination_prefix(route.destination.network(), route.destination.prefix_len())
        .priority(route.metric)
        .protocol(RouteProtocol::Boot);
    match route.gateway {
        Some(gateway) if route.onlink => builder.gateway(gateway).onlink().build(),
        Some(gateway) => builder.gateway(gateway).build(),
        None => builder.scope(RouteScope::Link).build(),
    }
}
