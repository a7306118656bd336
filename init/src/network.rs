//! The plane's own network: one interface by DHCP or a fixed address, kept so for ever, and all addresses there are.
//!
//! It must never give up: without a carrier, an answer or a lease it says so now and then, and tries again.

mod addresses;
mod choose;
mod keep;

use crate::context::Context;
use crate::outcome::{Outcome, Shortfall};
use bloomery_config::Config;
use bloomery_hostnet::{LinkKind, Netlink, link};
pub(crate) use keep::RESOLV_CONF;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Why the network was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to reach the kernel's network")]
    Netlink(#[source] link::Error),
}

/// The phase: the kernel's host name, without which (`(none)`) the API server never gets ready. In a container whose
/// host keeps the name for itself, that one stays.
pub fn set_hostname(context: &Context, config: &Config) -> Outcome<String> {
    let set = bloomery_sys::host::set_name(&config.hostname);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    context.status.update(|status| status.hostname.clone_from(&name));
    match set {
        Err(error) if !context.container => Err(Shortfall::with(error, name)),
        Err(error) => {
            tracing::info!(%error, "the container's host name stays");
            Ok(name)
        }
        Ok(()) => Ok(name),
    }
}

/// The phase: sets the loopback interface up, where every service is asked for its health.
pub async fn bring_up_loopback() -> Outcome {
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

/// The phase: starts the network, which is kept up in the background for ever. Nobody waits for an address: the
/// control plane starts on loopback, and certificates, the boot services' answers and the `API:` line follow.
pub fn start(context: &Context, config: Arc<Config>) -> Outcome<Network> {
    let netlink = Netlink::connect().map_err(Error::Netlink)?;
    // A connection of its own: the kernel refuses a second list on one that is listing already.
    let listing = Netlink::connect().map_err(Error::Netlink)?;
    let (time_sender, time_servers) = watch::channel(Vec::new());
    let (address_sender, addresses) = watch::channel(Vec::new());
    let tasks = vec![
        tokio::spawn(keep::keep_configured(context.clone(), config, netlink, time_sender)),
        tokio::spawn(addresses::follow(context.clone(), listing, address_sender)),
    ];
    Ok(Network { addresses, time_servers, tasks: Arc::new(tasks) })
}

impl Network {
    /// All addresses but loopback's and link-local ones; the first is the one shown to people.
    pub fn addresses(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.addresses.clone()
    }

    /// Time servers that DHCP has named.
    pub fn time_servers(&self) -> watch::Receiver<Vec<String>> {
        self.time_servers.clone()
    }

    /// Ends the DHCP client, so that nothing more is sent. What is configured stays configured.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
