//! The plane's own network: one interface by DHCP or a fixed address, kept so for ever, and all addresses there are.
//!
//! It must never give up: no carrier, no answer and a lost lease are said now and then, and tried again.

mod addresses;
mod choose;
mod keep;

use crate::context::Context;
use bloomery_hostnet::{LinkKind, Netlink, link};
pub(crate) use keep::RESOLV_CONF;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Why the network was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer.
    #[error("failed to reach the kernel's network")]
    Netlink(#[source] link::Error),
}

/// Sets the loopback interface up: services meet there, long before there is any other.
///
/// # Errors
/// When the kernel refuses.
pub async fn bring_up_loopback() -> Result<(), Error> {
    let netlink = Netlink::connect().map_err(Error::Netlink)?;
    for link in netlink.links().await.map_err(Error::Netlink)? {
        if link.kind == LinkKind::Loopback && !link.is_up() {
            netlink.set_up(link.index).await.map_err(Error::Netlink)?;
        }
    }
    Ok(())
}

/// A handle on the running network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    addresses: watch::Receiver<Vec<IpAddr>>,
    time_servers: watch::Receiver<Vec<String>>,
    tasks: Arc<Vec<JoinHandle<()>>>,
}

impl Network {
    /// Starts it in the background.
    ///
    /// # Errors
    /// When the kernel cannot even be asked.
    pub fn start(context: &Context) -> Result<Self, Error> {
        let netlink = Netlink::connect().map_err(Error::Netlink)?;
        // A connection of its own: the kernel refuses a second list on one that is listing already.
        let listing = Netlink::connect().map_err(Error::Netlink)?;
        let (time_sender, time_servers) = watch::channel(Vec::new());
        let (address_sender, addresses) = watch::channel(Vec::new());
        let tasks = vec![
            tokio::spawn(keep::keep_configured(context.clone(), netlink.clone(), time_sender)),
            tokio::spawn(addresses::follow(context.clone(), listing, address_sender)),
        ];
        Ok(Self { addresses, time_servers, tasks: Arc::new(tasks) })
    }

    /// All addresses but loopback's and link-local ones; the first is the one shown to people.
    pub fn addresses(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.addresses.clone()
    }

    /// Time servers that DHCP has named.
    pub fn time_servers(&self) -> watch::Receiver<Vec<String>> {
        self.time_servers.clone()
    }

    /// Ends the background tasks; what is configured stays configured.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
