//! All addresses that others can reach the plane under, from whatever source.

use crate::context::Context;
use bloomery_base::chain;
use bloomery_hostnet::link::Watch;
use bloomery_hostnet::{Link, Netlink};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;

/// A change is one of several: address, then route, then the next address.
const SETTLE: Duration = Duration::from_millis(20);
/// After a list that was refused.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// When the kernel does not tell of changes, looking has to do.
const LOOK: Duration = Duration::from_secs(5);

/// The tunnel to nodes: nobody else reaches the plane through it, so its address is in no certificate and no line.
const TUNNEL: &str = "siderolink";

/// Whether others can use it: not loopback, not link-local, not multicast.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
        }
    }
}

/// IPv4 first, since machines boot over it; then in the order of interfaces.
fn public(links: &[Link]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = links
        .iter()
        .filter(|link| link.is_up() && link.name != TUNNEL)
        .flat_map(|link| link.addresses.iter().map(ipnet::IpNet::addr))
        .filter(|address| is_public(*address))
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// Keeps the list and the status right, for ever.
pub(super) async fn follow(context: Context, netlink: Netlink, sender: watch::Sender<Vec<IpAddr>>) {
    let mut changes = Watch::open().ok();
    loop {
        match netlink.links().await {
            Ok(links) => {
                let addresses = public(&links);
                let is_new = sender.send_if_modified(|old| {
                    let differs = *old != addresses;
                    old.clone_from(&addresses);
                    differs
                });
                if is_new {
                    tracing::info!(?addresses, "addresses changed");
                    context.status.update(|status| status.addresses = addresses);
                }
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "failed to list addresses");
                tokio::time::sleep(TRY_AGAIN).await;
                continue;
            }
        }
        let told = match &mut changes {
            Some(watch) => watch.next().await.is_ok(),
            None => false,
        };
        if told {
            tokio::time::sleep(SETTLE).await;
        } else {
            tokio::time::sleep(LOOK).await;
            changes = Watch::open().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_hostnet::LinkKind;
    use bloomery_hostnet::link::FLAG_UP;

    #[test]
    fn lists_what_others_can_reach() {
        let link = |index, flags, addresses: &[&str]| Link {
            index,
            name: format!("eth{index}"),
            mac: None,
            kind: LinkKind::Ethernet,
            flags,
            carrier: true,
            carrier_ups: 1,
            mtu: 1500,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let links = [
            link(1, FLAG_UP, &["127.0.0.1/8", "::1/128"]),
            link(2, FLAG_UP, &["2001:db8::7/64", "fe80::1/64", "192.0.2.7/24", "169.254.1.1/16"]),
            link(3, 0, &["198.51.100.1/24"]),
            Link { name: TUNNEL.to_owned(), ..link(4, FLAG_UP, &["fdae:2859:5bb1:7a03::1/64"]) },
        ];
        let expected: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(public(&links), expected);
    }
}
