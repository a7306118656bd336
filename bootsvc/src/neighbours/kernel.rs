//! The kernel's routes and neighbours, asked over rtnetlink at the moment of a request.
//!
//! It must never hand on an entry whose answer is still awaited.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::Mutex;

use super::{OnLink, Way};
use crate::mac;

/// Longest wait for the kernel, which answers at once or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Errno `ENOENT`: no such neighbour. `ENETUNREACH` and `EHOSTUNREACH`: no such route.
const NO_ENTRY: [i32; 3] = [2, 101, 113];
/// Routers looked at; a host has one or two.
const MAX_ROUTERS: usize = 64;

/// Why the kernel did not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("failed to open a netlink socket")]
    Open(#[source] std::io::Error),
    #[error("failed to {0}")]
    Request(&'static str, #[source] Box<rtnetlink::Error>),
    #[error("failed to get an answer over netlink in time")]
    Timeout,
}

/// A connection that is opened with the first question and again after one that failed. One question at a time: the
/// kernel refuses a second list on one socket while the first is under way (`EBUSY`, netlink(7)).
#[derive(Debug, Clone, Default)]
pub(super) struct Kernel(Arc<Mutex<Option<Handle>>>);

impl Kernel {
    /// The way to `client`, and who is there if that is a link of ours.
    pub(super) async fn ask(&self, client: SocketAddr) -> Result<(Way, Option<OnLink>), AskError> {
        let mut connection = self.0.lock().await;
        let handle = match connection.take() {
            Some(handle) => handle,
            None => open()?,
        };
        // A question that failed, or that nobody waits for any more, takes the connection with it.
        let answer = tokio::time::timeout(ANSWER_WITHIN, look(&handle, client))
            .await
            .unwrap_or(Err(AskError::Timeout))?;
        *connection = Some(handle);
        Ok(answer)
    }
}

fn open() -> Result<Handle, AskError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(AskError::Open)?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn look(handle: &Handle, client: SocketAddr) -> Result<(Way, Option<OnLink>), AskError> {
    let address = client.ip().to_canonical();
    let scope = match client {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let way = way_to(handle, address, scope).await?;
    let Way::Link(index) = way else { return Ok((way, None)) };
    let card = card_of(handle, index, address).await?;
    let mut routers = Vec::new();
    for router in routers_on(handle, index, address).await? {
        routers.extend(card_of(handle, index, router).await?);
    }
    Ok((way, Some(OnLink { card, routers })))
}

/// How the kernel would send to the address.
async fn way_to(handle: &Handle, address: IpAddr, scope: u32) -> Result<Way, AskError> {
    let mut question = match address {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build(),
    };
    if scope != 0 {
        question.attributes.push(RouteAttribute::Oif(scope));
    }
    let found = handle.route().get(question).execute().try_next().await;
    match absent_is_none("look up a route", found)? {
        Some(route) => Ok(way(&route)),
        None => Ok(Way::None),
    }
}

fn way(route: &RouteMessage) -> Way {
    match route.header.kind {
        RouteType::Local => return Way::Local,
        RouteType::Unicast => {}
        _ => return Way::None,
    }
    if gateway(route).is_some() {
        return if is_advertised(route) { Way::AdvertisedRouter } else { Way::Router };
    }
    let link = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    link.map_or(Way::None, Way::Link)
}

fn is_advertised(route: &RouteMessage) -> bool {
    matches!(route.header.protocol, RouteProtocol::Ra | RouteProtocol::IcmpRedirect)
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
            Some(IpAddr::V4(*v4))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some(IpAddr::V6(*v6))
        }
        _ => None,
    })
}

/// The configured routers on that link, of the family of `like`.
async fn routers_on(handle: &Handle, index: u32, like: IpAddr) -> Result<Vec<IpAddr>, AskError> {
    let question = match like {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let mut found = handle.route().get(question).execute();
    let mut routers = Vec::new();
    while let Some(route) = found.try_next().await.map_err(|error| failed("list routes", error))? {
        let on_link = route.attributes.contains(&RouteAttribute::Oif(index));
        let router = gateway(&route).filter(|router| on_link && router.is_ipv4() == like.is_ipv4());
        if let Some(router) = router
            && !is_advertised(&route)
            && !routers.contains(&router)
            && routers.len() < MAX_ROUTERS
        {
            routers.push(router);
        }
    }
    Ok(routers)
}

/// The card of the host with this address on that link, if it has answered.
async fn card_of(handle: &Handle, index: u32, address: IpAddr) -> Result<Option<String>, AskError> {
    let mut question = NeighbourMessage::default();
    question.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    question.header.ifindex = index;
    question.header.flags = NeighbourFlags::empty();
    question.attributes.push(NeighbourAttribute::Destination(address.into()));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question));
    message.header.flags = NLM_F_REQUEST;
    let mut handle = handle.clone();
    let answers = handle.request(message).map_err(|error| failed("look up a neighbour", error))?;
    let mut answers = std::pin::pin!(answers);
    let first = futures::StreamExt::next(&mut answers).await;
    let found = match first.map(|answer| answer.payload) {
        Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found))) => Ok(Some(found)),
        Some(NetlinkPayload::Error(error)) => Err(rtnetlink::Error::NetlinkError(error)),
        Some(_) | None => Err(rtnetlink::Error::RequestFailed),
    };
    Ok(absent_is_none("look up a neighbour", found)?.as_ref().and_then(answered))
}

/// The card of an entry that was answered, now or a while ago.
fn answered(entry: &NeighbourMessage) -> Option<String> {
    let is_answered = match entry.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent => true,
        NeighbourState::Incomplete
        | NeighbourState::Failed
        | NeighbourState::Noarp
        | NeighbourState::None
        | _ => false,
    };
    let octets = entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => Some(octets),
        _ => None,
    });
    octets.filter(|_| is_answered).and_then(|octets| mac::of_octets(octets))
}

fn failed(what: &'static str, error: rtnetlink::Error) -> AskError {
    AskError::Request(what, Box::new(error))
}

fn absent_is_none<T>(
    what: &'static str,
    found: Result<Option<T>, rtnetlink::Error>,
) -> Result<Option<T>, AskError> {
    match found {
        Ok(found) => Ok(found),
        Err(rtnetlink::Error::NetlinkError(message))
            if message.code.is_some_and(|code| NO_ENTRY.contains(&-code.get())) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(what, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: NeighbourState, octets: &[u8]) -> NeighbourMessage {
        let mut entry = NeighbourMessage::default();
        entry.header.state = state;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(octets.to_vec()));
        entry
    }

    #[test]
    fn only_answered_entries_with_a_card_count() {
        const CARD: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
        for (state, known) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Delay, true),
            (NeighbourState::Probe, true),
            (NeighbourState::Permanent, true),
            (NeighbourState::Incomplete, false),
            (NeighbourState::Failed, false),
            (NeighbourState::Noarp, false),
            (NeighbourState::None, false),
            (NeighbourState::Other(0x400), false),
        ] {
            let seen = answered(&entry(state, &CARD));
            assert_eq!(seen.as_deref(), known.then_some("52:54:00:77:00:01"), "{state:?}");
        }
        assert_eq!(answered(&entry(NeighbourState::Reachable, &[0; 6])), None);
        assert_eq!(answered(&entry(NeighbourState::Reachable, &[1; 20])), None);
        assert_eq!(answered(&NeighbourMessage::default()), None);
    }

    fn route(kind: RouteType, protocol: RouteProtocol, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.kind = kind;
        route.header.protocol = protocol;
        route.attributes = attributes;
        route
    }

    #[test]
    fn routes_are_read_as_ways() {
        let link = || RouteAttribute::Oif(3);
        let router = || RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 77, 0, 1)));
        let router6 = || RouteAttribute::Gateway(RouteAddress::Inet6("fe80::1".parse().unwrap()));
        let via = || RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
        let boot = RouteProtocol::Boot;
        let cases = [
            (route(RouteType::Local, boot, vec![link()]), Way::Local),
            (route(RouteType::Unicast, RouteProtocol::Kernel, vec![link()]), Way::Link(3)),
            (route(RouteType::Unicast, boot, vec![link(), router()]), Way::Router),
            (route(RouteType::Unicast, boot, vec![link(), via()]), Way::Router),
            (route(RouteType::Unicast, RouteProtocol::Ra, vec![link(), router6()]), Way::AdvertisedRouter),
            (
                route(RouteType::Unicast, RouteProtocol::IcmpRedirect, vec![link(), router6()]),
                Way::AdvertisedRouter,
            ),
            (route(RouteType::Unicast, boot, vec![]), Way::None),
            (route(RouteType::BlackHole, boot, vec![link()]), Way::None),
            (route(RouteType::Multicast, boot, vec![link()]), Way::None),
        ];
        for (route, expected) in cases {
            assert_eq!(way(&route), expected, "{route:?}");
        }
    }
}
