//! Changes of this host's links and addresses, as they happen.
//!
//! It must never pretend to be complete after the kernel dropped messages: that is said as
//! [`Change::Missed`], and the reader lists anew.

use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{MulticastGroup, sys::SocketAddr};

use super::{Error, Link, read};

/// One change. Link changes carry no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link appeared or changed: its flags, carrier, MTU or name.
    Link(Link),
    /// A link went away.
    LinkGone {
        /// Its kernel index.
        index: u32,
    },
    /// An address appeared or was renewed.
    Address {
        /// The link's kernel index.
        index: u32,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// An address went away.
    AddressGone {
        /// The link's kernel index.
        index: u32,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// The kernel dropped messages; list everything anew.
    Missed,
}

/// A subscription to changes of links and addresses of this network namespace.
#[derive(Debug)]
pub struct Watch {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Subscribes; changes from this moment on are seen. Must be called inside a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(|source| Error::Open { source })?;
        Ok(Self { messages, task: tokio::spawn(connection) })
    }

    /// The next change. Safe to drop while waiting.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            let (message, _) = self.messages.next().await.ok_or(Error::WatchEnded)?;
            if let Some(change) = change(&message) {
                return Ok(change);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn change(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    let inner = match &message.payload {
        NetlinkPayload::InnerMessage(inner) => inner,
        NetlinkPayload::Overrun(_) => return Some(Change::Missed),
        _ => return None,
    };
    match inner {
        RouteNetlinkMessage::NewLink(link) => Some(Change::Link(read::link(link))),
        RouteNetlinkMessage::DelLink(link) => Some(Change::LinkGone { index: link.header.index }),
        RouteNetlinkMessage::NewAddress(message) => {
            let index = message.header.index;
            read::address(message).map(|address| Change::Address { index, address })
        }
        RouteNetlinkMessage::DelAddress(message) => {
            let index = message.header.index;
            read::address(message).map(|address| Change::AddressGone { index, address })
        }
        _ => None,
    }
}
