//! The network interface, over rtnetlink: made, addressed, brought up.

use std::net::{IpAddr, Ipv6Addr};

use bloomery_api::siderolink::{MTU, PREFIX_LENGTH};
use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec, LinkWireguard};

/// Errno of a kernel without WireGuard.
const UNSUPPORTED: i32 = 95;
/// Errno of what exists already.
const EXISTS: i32 = 17;

/// Why the interface is not as it should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LinkError {
    #[error("failed to open a netlink socket")]
    Open(#[source] std::io::Error),
    #[error("failed to {0}")]
    Request(&'static str, #[source] Box<rtnetlink::Error>),
    #[error("failed to find the interface")]
    Absent,
}

impl LinkError {
    /// Whether the kernel has no interfaces of this kind.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Request(_, error) if errno(error) == Some(UNSUPPORTED))
    }
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(-message.raw_code()),
        _ => None,
    }
}

fn failed(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    move |error| LinkError::Request(what, Box::new(error))
}

/// A connection to the kernel's table of interfaces.
pub(super) struct Link(Handle);

impl Link {
    /// Opens it.
    pub(super) fn connect() -> Result<Self, LinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(LinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Makes an interface of the kernel's WireGuard, unless it is there.
    pub(super) async fn create_wireguard(&self, name: &str) -> Result<(), LinkError> {
        match self.0.link().add(LinkWireguard::new(name).build()).execute().await {
            Err(error) if errno(&error) == Some(EXISTS) => Ok(()),
            outcome => outcome.map_err(failed("make the interface")),
        }
    }

    /// Gives it this address alone, its MTU, and lets packets through.
    pub(super) async fn bring_up(&self, name: &str, address: Ipv6Addr) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let up = LinkUnspec::new_with_index(index).mtu(MTU).up().build();
        self.0.link().set(up).execute().await.map_err(failed("bring the interface up"))?;
        let mut is_there = false;
        for message in self.addresses(index).await? {
            match address_of(&message) {
                Some(found) if found == address => is_there = true,
                Some(found) if found.is_unicast_link_local() => {}
                // Of another network: the installation changed.
                _ => self.0.address().del(message).execute().await.map_err(failed("remove an address"))?,
            }
        }
        if !is_there {
            let mut add = self.0.address().add(index, IpAddr::V6(address), PREFIX_LENGTH);
            // Nobody else can have it: it is to be used at once.
            add.message_mut().header.flags = AddressHeaderFlags::Nodad;
            add.execute().await.map_err(failed("add the address"))?;
        }
        Ok(())
    }

    async fn index(&self, name: &str) -> Result<u32, LinkError> {
        let mut links = self.0.link().get().match_name(name.to_owned()).execute();
        let found: Option<LinkMessage> = links.try_next().await.map_err(failed("find the interface"))?;
        Ok(found.ok_or(LinkError::Absent)?.header.index)
    }

    async fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>, LinkError> {
        let all = self.0.address().get().set_link_index_filter(index).execute();
        all.try_collect().await.map_err(failed("list the addresses"))
    }
}

fn address_of(message: &AddressMessage) -> Option<Ipv6Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    })
}
