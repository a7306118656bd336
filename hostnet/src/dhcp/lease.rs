//! Leases: offers and acks of servers that were checked and can be used.
//!
//! It must never hold a value that would break the link (no host address, no time, unusable MTU).

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::message::Reply;
use super::options::{codes, is_host};
use crate::network::Ipv4Config;
use crate::resolv::{ResolvConf, host_name};

/// RFC 2131 §3.3: all ones is for ever.
const FOR_EVER: u32 = u32::MAX;
/// Every host must take datagrams of this size (RFC 791), so a smaller MTU is a mistake.
const MIN_MTU: u16 = 576;

/// How long a lease runs and when to renew it, from the moment the request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// T1: ask the server that gave it.
    pub renew: Duration,
    /// T2: ask any server.
    pub rebind: Duration,
    /// The end.
    pub expire: Duration,
}

/// A usable lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Own address and the prefix it lies in.
    pub address: Ipv4Net,
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// None: for ever.
    pub times: Option<LeaseTimes>,
    /// Destinations and next hops (none: on the link): option 121, or else a default route by option 3.
    pub routes: Vec<(Ipv4Net, Option<Ipv4Addr>)>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Domain for short names.
    pub domain: Option<String>,
    /// The host name the server suggests.
    pub hostname: Option<String>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// Bytes.
    pub mtu: Option<u16>,
}

/// Why an offer or ack is no usable lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LeaseError {
    /// No address in it (a proxy's offer) or not one a host can have.
    #[error("failed to accept {address} as a host address")]
    Address { address: Ipv4Addr },
    /// Ones after zeros, or no zeros left for hosts to differ in.
    #[error("failed to accept {mask} as a subnet mask of {address}")]
    Mask { address: Ipv4Addr, mask: Ipv4Addr },
    /// RFC 2131 table 3: offers and acks say how long.
    #[error("failed to find a lease time")]
    NoTime,
}

impl Lease {
    /// Judges an offer or an ack.
    pub fn from_reply(reply: &Reply) -> Result<Self, LeaseError> {
        let options = &reply.options;
        let address = reply.yiaddr;
        if !is_host(address) {
            return Err(LeaseError::Address { address });
        }
        let mask = options.address(codes::SUBNET_MASK).unwrap_or_else(|| classful_mask(address));
        let bad_mask = LeaseError::Mask { address, mask };
        let address = Ipv4Net::with_netmask(address, mask).map_err(|_| bad_mask)?;
        if !fits(address) {
            return Err(bad_mask);
        }
        let hosts = |code| {
            let mut hosts = options.addresses(code);
            hosts.retain(|host| is_host(*host));
            hosts
        };
        let routes = match options.classless_routes(codes::CLASSLESS_ROUTES) {
            Some(routes) => (routes.into_iter())
                .map(|(destination, router)| (destination, Some(router).filter(|it| !it.is_unspecified())))
                .collect(),
            None => (hosts(codes::ROUTERS).first())
                .map(|router| (Ipv4Net::default(), Some(*router)))
                .into_iter()
                .collect(),
        };
        let name = |code| options.text(code).and_then(host_name).map(str::to_owned);
        Ok(Self {
            address,
            server: reply.server,
            times: times(options.u32(codes::LEASE_TIME), options.u32(codes::T1), options.u32(codes::T2))?,
            routes,
            name_servers: hosts(codes::NAME_SERVERS),
            domain: name(codes::DOMAIN),
            hostname: name(codes::HOST_NAME),
            ntp_servers: hosts(codes::NTP_SERVERS),
            mtu: options.u16(codes::MTU).filter(|mtu| *mtu >= MIN_MTU),
        })
    }

    /// The link's part of it.
    pub fn ipv4(&self, metric: u32) -> Ipv4Config {
        Ipv4Config {
            address: self.address,
            routes: self.routes.clone(),
            mtu: self.mtu.map(u32::from),
            metric,
        }
    }

    /// The resolver's part of it.
    pub fn resolver(&self) -> ResolvConf {
        ResolvConf {
            nameservers: self.name_servers.iter().copied().map(Into::into).collect(),
            domain: self.domain.clone(),
        }
    }

    /// The next hop of the default route.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.routes.iter().find(|(to, _)| to.prefix_len() == 0).and_then(|(_, gateway)| *gateway)
    }
}

/// The mask of the address's class (RFC 791), for servers that send none.
fn classful_mask(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        ..128 => Ipv4Addr::new(255, 0, 0, 0),
        128..192 => Ipv4Addr::new(255, 255, 0, 0),
        192.. => Ipv4Addr::new(255, 255, 255, 0),
    }
}

/// Whether the address is a host of its prefix: not the network's nor the broadcast address
/// (/31 and /32 have neither, RFC 3021), and the prefix is not everything.
fn fits(address: Ipv4Net) -> bool {
    match address.prefix_len() {
        0 => false,
        31.. => true,
        _ => address.addr() != address.network() && address.addr() != address.broadcast(),
    }
}

/// T1 and T2 as given when they are in order, else the defaults of RFC 2131 §4.4.5.
fn times(lease: Option<u32>, t1: Option<u32>, t2: Option<u32>) -> Result<Option<LeaseTimes>, LeaseError> {
    let seconds = match lease {
        None | Some(0) => return Err(LeaseError::NoTime),
        Some(FOR_EVER) => return Ok(None),
        Some(seconds) => seconds,
    };
    let expire = Duration::from_secs(seconds.into());
    let given = t1.zip(t2).filter(|&(t1, t2)| 0 < t1 && t1 < t2 && t2 < seconds);
    Ok(Some(match given {
        Some((t1, t2)) => LeaseTimes {
            renew: Duration::from_secs(t1.into()),
            rebind: Duration::from_secs(t2.into()),
            expire,
        },
        None => LeaseTimes { renew: expire / 2, rebind: expire * 7 / 8, expire },
    }))
}
