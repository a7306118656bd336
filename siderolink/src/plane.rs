//! What all parts share: the API, the nodes, the tunnel.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bloomery_api::siderolink::Network;
use bloomery_api::siderolink::peers::Key;
use bloomery_platform::client::Kubernetes;
use tokio::sync::{Mutex, watch};
use tonic::Status;

use crate::logs;
use crate::nodes::Nodes;
use crate::tunnel::{Tunnel, TunnelError};

/// Until what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Longest wait for the address of a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

/// What all parts share.
pub struct Plane {
    /// The Kubernetes API.
    pub kubernetes: Kubernetes,
    /// The nodes.
    pub nodes: Nodes,
    /// What came in.
    pub counters: Counters,
    pub(crate) tunnel: Mutex<Option<Tunnel>>,
    pub(crate) open: watch::Sender<Option<Open>>,
    pub(crate) endpoint_host: String,
    pub(crate) port: u16,
}

/// Counts of all parts.
#[derive(Debug, Default)]
pub struct Counters {
    pub events: EventCounters,
    pub logs: Arc<logs::Counters>,
}

/// The network of the open tunnel, and the plane's public key in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) network: Network,
    pub(crate) public_key: Key,
}

/// Counts of the event sink.
#[derive(Debug, Default)]
pub struct EventCounters {
    /// Events that were taken.
    pub events: std::sync::atomic::AtomicU64,
    /// Events from addresses without a binding.
    pub unknown: std::sync::atomic::AtomicU64,
}

impl Plane {
    /// The network, while the tunnel is open.
    pub fn network(&self) -> Option<Network> {
        self.open.borrow().map(|open| open.network)
    }

    /// The plane's public key, while the tunnel is open.
    pub fn public_key(&self) -> Option<Key> {
        self.open.borrow().map(|open| open.public_key)
    }

    /// Where nodes reach the WireGuard port; `reached` is where one reached the boot services.
    pub async fn endpoint(&self, reached: Option<IpAddr>) -> Result<SocketAddr, Status> {
        resolve(&self.endpoint_host, reached, self.port).await
    }

    /// Makes the tunnel's peers what the bindings say.
    pub async fn sync(&self) -> Result<(), TunnelError> {
        let mut tunnel = self.tunnel.lock().await;
        let Some(tunnel) = tunnel.as_mut() else { return Ok(()) };
        let peers = self.nodes.peers();
        tunnel.follow(&peers.iter().map(|(key, (_, address))| (*key, *address)).collect()).await
    }

    /// Follows the bindings' changes for ever.
    pub(crate) async fn follow(&self) {
        let mut changes = self.nodes.changes();
        loop {
            changes.mark_unchanged();
            // Until all are known, missing ones are no reason to take a peer away.
            if self.nodes.is_listed()
                && let Err(error) = self.sync().await
            {
                tracing::warn!(error = bloomery_base::chain(&error), "tunnel not changed");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let EventCounters { events, unknown } = &self.counters.events;
        let logs::Counters { lines, refused } = &*self.counters.logs;
        let counts = [
            ("events", "Events that nodes sent.", events),
            ("unknown_senders", "Events from addresses without a ServerBinding.", unknown),
            ("log_lines", "Lines of kernel logs that were kept.", lines),
            ("log_connections_refused", "Connections that ended because of what they sent.", refused),
        ];
        let count = |(name, help, value): (&str, &str, &std::sync::atomic::AtomicU64)| {
            let value = value.load(Ordering::Relaxed);
            format!(
                "# HELP siderolink_{name}_total {help}\n# TYPE siderolink_{name}_total counter\nsiderolink_{name}_total {value}\n"
            )
        };
        let peers = self.nodes.peers().len();
        counts.into_iter().map(count).collect::<String>()
            + &format!(
                "# HELP siderolink_peers Nodes with an end of the tunnel.\n# TYPE siderolink_peers gauge\nsiderolink_peers {peers}\n"
            )
    }
}

/// The address of a configured name, or the one that the node asked at.
pub async fn resolve(host: &str, reached: Option<IpAddr>, port: u16) -> Result<SocketAddr, Status> {
    let unknown = || Status::unavailable("the address of the plane is not known");
    if host.is_empty() {
        return reached.map(|address| SocketAddr::new(address, port)).ok_or_else(unknown);
    }
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = plain.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((plain, port))).await;
    match found {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(unknown),
        Ok(Err(error)) => {
            tracing::warn!(host, %error, "endpoint not resolved");
            Err(unknown())
        }
        Err(_) => Err(unknown()),
    }
}
