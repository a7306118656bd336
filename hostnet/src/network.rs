//! One link's IPv4 configuration, by DHCP or by hand, and putting it onto the link.
//!
//! It must never touch an address or a route that it did not put there itself.

use bloomery_base::chain;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::link::{Error, Netlink, Route};

/// The configuration of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Config {
    /// Own address and the prefix it lies in.
    pub address: Ipv4Net,
    /// Destinations beyond the own prefix and their next hops; `None` means on the link.
    pub routes: Vec<(Ipv4Net, Option<Ipv4Addr>)>,
    /// Bytes; none leaves the link's as it is.
    pub mtu: Option<u32>,
    /// Priority of the routes: the lowest wins.
    pub metric: u32,
}

impl Ipv4Config {
    /// The routes as the kernel takes them: those on the link first, since others need them.
    pub fn kernel_routes(&self) -> Vec<Route> {
        let mut routes: Vec<Route> = (self.routes.iter())
            .map(|&(destination, gateway)| Route {
                destination: destination.trunc(),
                gateway,
                onlink: gateway.is_some_and(|gateway| !self.address.contains(&gateway)),
                metric: self.metric,
            })
            .collect();
        routes.sort_by_key(|route| route.gateway.is_some());
        routes
    }
}

/// Remembers what was put onto one link, so that exactly that can be changed or taken away.
#[derive(Debug)]
pub struct Configured {
    index: u32,
    current: Option<Ipv4Config>,
}

impl Configured {
    /// Nothing was put onto the link with this index yet.
    pub fn nothing(index: u32) -> Self {
        Self { index, current: None }
    }

    /// The configuration that was put onto the link.
    pub fn current(&self) -> Option<&Ipv4Config> {
        self.current.as_ref()
    }

    /// Makes the link have `wanted`: adds the new, then removes what only the old one had.
    /// Calling it again puts back what another program removed.
    pub async fn apply(&mut self, netlink: &Netlink, wanted: Ipv4Config) -> Result<(), Error> {
        let index = self.index;
        let old = self.current.replace(wanted.clone());
        if let Some(mtu) = wanted.mtu
            && netlink.link(index).await?.mtu != mtu
        {
            // Some drivers refuse some sizes; a smaller path than hoped for is no reason to go without address.
            if let Err(error) = netlink.set_mtu(index, mtu).await {
                tracing::warn!(index, mtu, error = %chain(&error), "mtu refused by the link");
            }
        }
        netlink.put_address(index, IpNet::V4(wanted.address)).await?;
        let routes = wanted.kernel_routes();
        for route in &routes {
            netlink.put_route(index, route).await?;
        }
        let Some(old) = old else { return Ok(()) };
        for route in old.kernel_routes().iter().filter(|route| !routes.contains(route)) {
            netlink.remove_route(index, route).await?;
        }
        if old.address != wanted.address {
            netlink.remove_address(index, IpNet::V4(old.address)).await?;
        }
        Ok(())
    }

    /// Takes away everything that was put onto the link.
    pub async fn clear(&mut self, netlink: &Netlink) -> Result<(), Error> {
        let Some(old) = self.current.take() else { return Ok(()) };
        for route in old.kernel_routes().iter().rev() {
            netlink.remove_route(self.index, route).await?;
        }
        netlink.remove_address(self.index, IpNet::V4(old.address)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(routes: &[(&str, Option<&str>)]) -> Ipv4Config {
        let route = |(to, via): &(&str, Option<&str>)| {
            (to.parse().unwrap(), via.map(|via| via.parse::<Ipv4Addr>().unwrap()))
        };
        Ipv4Config {
            address: "10.0.0.5/24".parse().unwrap(),
            routes: routes.iter().map(route).collect(),
            mtu: None,
            metric: 7,
        }
    }

    #[test]
    fn routes_on_the_link_come_first_and_far_gateways_are_marked() {
        let config = config(&[
            ("0.0.0.0/0", Some("192.0.2.1")),
            ("10.9.1.1/16", Some("10.0.0.1")),
            ("192.0.2.1/32", None),
        ]);
        let routes: Vec<(String, bool)> = (config.kernel_routes().iter())
            .map(|route| (route.destination.to_string(), route.onlink))
            .collect();
        assert_eq!(
            routes,
            [
                ("192.0.2.1/32".to_owned(), false),
                ("0.0.0.0/0".to_owned(), true),
                ("10.9.0.0/16".to_owned(), false),
            ]
        );
    }
}
