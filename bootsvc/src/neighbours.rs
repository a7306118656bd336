//! Who is on the wire: the network card behind a client's address, as the kernel's tables have it, of both families.
//!
//! It must never guess. On a network that we are attached to, a card that cannot be told is [`Seen::Unknown`], which
//! proves nothing and is never taken for "behind a router". What comes from a router's card was sent on by it (a router
//! that answers for others, or hides them behind its own address): the card says nothing of the machine then.

mod kernel;

use std::collections::BTreeSet;
use std::net::SocketAddr;
#[cfg(test)]
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

/// What is seen of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is on a network of ours, with this card (colon form).
    Card(String),
    /// It is not on a network of ours: a router or a relay stands between, or it is this very host.
    Beyond,
    /// It is on a network of ours, or may be, and its card cannot be told.
    Unknown,
}

impl Seen {
    /// The card, if it is seen.
    pub fn card(&self) -> Option<&str> {
        match self {
            Self::Card(card) => Some(card),
            Self::Beyond | Self::Unknown => None,
        }
    }

    /// Whether the client may have one of these cards: it is seen with one, or cannot be seen behind its router.
    pub fn may_have_one_of(&self, cards: &BTreeSet<String>) -> bool {
        match self {
            Self::Card(card) => cards.contains(card),
            Self::Beyond => true,
            Self::Unknown => false,
        }
    }
}

/// How a packet to an address leaves this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It does not: the address is our own.
    Local,
    /// Through a router that this host was given by its configuration or its DHCP lease.
    Router,
    /// Through a router that only its own advertisement named: any host of the network can send one.
    AdvertisedRouter,
    /// Straight onto the link with this index.
    Link(u32),
    /// Not at all, or nobody can tell.
    None,
}

/// What is known of the host at the end of a [`Way::Link`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OnLink {
    /// Its card, if it answered.
    card: Option<String>,
    /// Cards of the configured routers on that link.
    routers: Vec<String>,
}

/// Judges what the tables say.
fn judge(way: Way, on_link: Option<OnLink>) -> Seen {
    match (way, on_link) {
        (Way::Local | Way::Router, _) => Seen::Beyond,
        (Way::Link(_), Some(OnLink { card: Some(card), routers })) => {
            if routers.contains(&card) {
                Seen::Beyond
            } else {
                Seen::Card(card)
            }
        }
        (Way::Link(_), Some(OnLink { card: None, .. }) | None) | (Way::AdvertisedRouter | Way::None, _) => {
            Seen::Unknown
        }
    }
}

/// The neighbour tables. Clones share their connection to the kernel.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    kernel: kernel::Kernel,
    #[cfg(test)]
    fixed: Arc<Mutex<HashMap<IpAddr, Seen>>>,
}

impl Neighbours {
    /// What is seen of the client with this address. An IPv6 address of a link needs its scope.
    pub async fn seen(&self, client: SocketAddr) -> Seen {
        #[cfg(test)]
        if let Some(seen) = self.fixed.lock().ok().and_then(|fixed| fixed.get(&client.ip()).cloned()) {
            return seen;
        }
        match self.kernel.ask(client).await {
            Ok((way, on_link)) => judge(way, on_link),
            Err(error) => {
                tracing::warn!(%client, error = bloomery_base::chain(&error), "card of a client not told");
                Seen::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    impl Neighbours {
        /// Has a test see this of an address.
        pub(crate) fn fix(&self, address: IpAddr, seen: Seen) {
            self.fixed.lock().unwrap().insert(address, seen);
        }
    }

    const CARD: &str = "52:54:00:77:00:01";
    const ROUTER: &str = "52:54:00:aa:00:01";

    #[allow(clippy::unnecessary_wraps, reason = "as the table takes it")]
    fn on_link(card: Option<&str>, routers: &[&str]) -> Option<OnLink> {
        let routers = routers.iter().map(|router| (*router).to_owned()).collect();
        Some(OnLink { card: card.map(str::to_owned), routers })
    }

    #[test]
    fn only_what_is_seen_is_told() {
        let card = || Seen::Card(CARD.to_owned());
        let cases = [
            (Way::Local, None, Seen::Beyond),
            (Way::Router, None, Seen::Beyond),
            // Any host can advertise itself as a router: that makes it no proof of being elsewhere.
            (Way::AdvertisedRouter, None, Seen::Unknown),
            (Way::None, None, Seen::Unknown),
            (Way::Link(2), on_link(Some(CARD), &[]), card()),
            (Way::Link(2), on_link(Some(CARD), &[ROUTER]), card()),
            // A router that answers for others.
            (Way::Link(2), on_link(Some(ROUTER), &[ROUTER]), Seen::Beyond),
            (Way::Link(2), on_link(None, &[ROUTER]), Seen::Unknown),
            (Way::Link(2), None, Seen::Unknown),
        ];
        for (way, on_link, expected) in cases {
            assert_eq!(judge(way, on_link.clone()), expected, "{way:?} {on_link:?}");
        }
    }

    #[tokio::test]
    async fn this_host_is_on_no_network_of_ours() {
        let neighbours = Neighbours::default();
        for own in ["127.0.0.1:9", "[::1]:9"] {
            assert_eq!(neighbours.seen(own.parse().unwrap()).await, Seen::Beyond, "{own}");
        }
    }

    #[tokio::test]
    async fn a_link_local_address_of_an_unknown_link_is_not_told() {
        let client = SocketAddrV6::new("fe80::1234".parse().unwrap(), 9, 0, 4_000_000);
        assert_eq!(Neighbours::default().seen(client.into()).await, Seen::Unknown);
    }
}
