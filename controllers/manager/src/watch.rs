//! The one watch of each kind, with what follows from it at once.
//!
//! The API server decodes each change once for every watch: a controller subscribes here in place of a watch of its own.

use std::sync::Arc;

use bloomery_api::{Environment, Server, ServerBinding, ServerClass};
use bloomery_platform::watch::{Cache, Change, Feed, Watch, Watched};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::environment::demand::Demand;
use crate::fleet::Fleet;

/// A Server, or what was wrong with it: one malformed object must not stop the watch.
pub type GuardedServer = DeserializeGuard<Server>;
/// A binding, or what was wrong with it.
pub type GuardedBinding = DeserializeGuard<ServerBinding>;
/// All Servers, malformed ones included.
pub type Servers = Cache<GuardedServer>;
/// All bindings.
pub type Bindings = Cache<GuardedBinding>;

/// All watches of this process, before they run.
pub struct Watches {
    pub servers: Watch<GuardedServer>,
    pub bindings: Watch<GuardedBinding>,
    pub classes: Watch<DeserializeGuard<ServerClass>>,
    pub environments: Watch<DeserializeGuard<Environment>>,
    /// What Servers have in common, always as far as their cache.
    pub fleet: Fleet,
    /// Names of Servers that changes of others concern.
    pub concerned: UnboundedReceiver<String>,
    /// Whether somebody needs the Environments that are fetched on demand.
    pub demand: Demand,
}

impl Watches {
    /// What Servers have in common is seen before any controller hears of a change.
    pub fn new(client: &Client) -> Self {
        let mut servers: Watch<GuardedServer> = Watch::new(Api::all(client.clone()));
        let mut bindings: Watch<GuardedBinding> = Watch::new(Api::all(client.clone()));
        let (fleet, concerned) = Fleet::new(servers.feed.cache());
        let demand = Demand::default();
        let (seeing, needing) = (fleet.clone(), demand.clone());
        servers.feed.observe(move |change| {
            if let Change::Applied(server) = change {
                needing.see(server.as_ref());
            }
            seeing.see_server(change);
        });
        let seeing = fleet.clone();
        bindings.feed.observe(move |change| seeing.see_binding(change));
        let classes = Watch::new(Api::all(client.clone()));
        let environments = Watch::new(Api::all(client.clone()));
        Self { servers, bindings, classes, environments, fleet, concerned, demand }
    }
}

/// Wakes one who waits for any change.
pub fn wake<K: Watched>(feed: &mut Feed<K>, touched: &Arc<Notify>) {
    let touched = Arc::clone(touched);
    feed.observe(move |_| touched.notify_one());
}
