//! Configuration given by hand: address, gateway and name servers.
//!
//! It must never guess what was not given.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::Ipv4Net;

use crate::link::Netlink;
use crate::network::{Configured, Ipv4Config};
use crate::resolv::{self, ResolvConf};

/// One link's configuration by the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Own address and the prefix it lies in.
    pub address: Ipv4Net,
    /// Next hop of the default route.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, the first is asked first.
    pub nameservers: Vec<IpAddr>,
    /// Domain appended to short names.
    pub domain: Option<String>,
    /// Bytes; none leaves the link's as it is.
    pub mtu: Option<u32>,
}

/// Why it could not be applied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to configure the link")]
    Link(#[source] crate::link::Error),
    #[error("failed to set the name servers")]
    Resolver(#[source] resolv::Error),
}

impl Fixed {
    /// The link's part of it.
    pub fn ipv4(&self, metric: u32) -> Ipv4Config {
        let default_route = self.gateway.map(|gateway| (Ipv4Net::default(), Some(gateway)));
        Ipv4Config {
            address: self.address,
            routes: default_route.into_iter().collect(),
            mtu: self.mtu,
            metric,
        }
    }

    /// Sets the link up, gives it the address and the default route, and writes `resolv_conf`.
    pub async fn apply(
        &self,
        netlink: &Netlink,
        index: u32,
        resolv_conf: &Path,
    ) -> Result<Configured, Error> {
        netlink.set_up(index).await.map_err(Error::Link)?;
        let mut configured = Configured::nothing(index);
        let config = self.ipv4(crate::dhcp::ROUTE_METRIC);
        configured.apply(netlink, config).await.map_err(Error::Link)?;
        let resolver = ResolvConf { nameservers: self.nameservers.clone(), domain: self.domain.clone() };
        resolv::write(resolv_conf, &resolver).map_err(Error::Resolver)?;
        Ok(configured)
    }
}
