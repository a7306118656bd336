//! The machine's IPv4 interfaces, watched for change.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often addresses are read again. A lease that moves is rare and costs a booting machine one
/// repeated DISCOVER at most, so reading twice a second or listening to netlink would gain nothing.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// An interface to serve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// The address that clients on it are given.
    pub address: Ipv4Addr,
}

/// Which interfaces are wanted: those named, or with no names all but loopback.
#[derive(Debug, Clone, Default)]
pub struct Selection(pub Vec<String>);

/// Interfaces that are up, match `selection` and have an IPv4 address, sorted by name; of several
/// addresses the first that is not link-local.
pub fn list(selection: &Selection) -> Result<Vec<Interface>, std::io::Error> {
    let mut found: Vec<Interface> = Vec::new();
    for entry in getifaddrs()? {
        let up = entry.flags.contains(InterfaceFlags::IFF_UP);
        let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let address = entry
            .address
            .as_ref()
            .and_then(|address| address.as_sockaddr_in())
            .map(nix::sys::socket::SockaddrIn::ip);
        let Some(address) = address else { continue };
        if !up || !selection.wants(&entry.interface_name, loopback) {
            continue;
        }
        match found.iter_mut().find(|interface| interface.name == entry.interface_name) {
            Some(known) if known.address.is_link_local() => known.address = address,
            Some(_) => {}
            None => found.push(Interface { name: entry.interface_name, address }),
        }
    }
    found.sort();
    Ok(found)
}

impl Selection {
    fn wants(&self, name: &str, loopback: bool) -> bool {
        if self.0.is_empty() { !loopback } else { self.0.iter().any(|wanted| wanted == name) }
    }
}

/// Watches the interfaces until `shutdown`.
pub fn watch(selection: Selection, shutdown: CancellationToken) -> watch::Receiver<Vec<Interface>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(POLL_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sender.closed() => return,
                _ = tick.tick() => {}
            }
            match list(&selection) {
                Ok(current) => {
                    sender.send_if_modified(|known| {
                        let changed = *known != current;
                        *known = current;
                        changed
                    });
                }
                Err(error) => tracing::warn!(%error, "interfaces cannot be listed"),
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_served_only_when_named() {
        let all = list(&Selection::default()).unwrap();
        assert!(all.iter().all(|interface| interface.name != "lo"), "{all:?}");
        let named = list(&Selection(vec!["lo".to_owned()])).unwrap();
        assert_eq!(named, [Interface { name: "lo".to_owned(), address: Ipv4Addr::LOCALHOST }]);
        assert!(list(&Selection(vec!["nosuch0".to_owned()])).unwrap().is_empty());
    }
}
