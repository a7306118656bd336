//! One watch of a kind: it keeps what its keeper knows of all objects up to date.
//!
//! It must never let a keeper take a list for complete before all of it was read.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::health::{Part, State};
use crate::kubernetes::Kubernetes;

/// Pause after an error: before the kinds are installed there are many, and machines wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a new client of the API is looked for.
const CLIENT_EVERY: Duration = Duration::from_secs(1);

/// An object, or the metadata of one that is not what its kind should be.
pub type Seen<K> = Result<K, ObjectMeta>;

/// What is told of the objects of a kind.
pub trait Keeper<K> {
    /// These are all, by name. What was noted since the list was read may be later.
    fn listed(&self, all: BTreeMap<String, Seen<K>>);
    /// One was made or changed.
    fn changed(&self, name: String, object: Seen<K>);
    /// One is gone.
    fn removed(&self, name: &str);
}

/// Follows the objects of a cluster-scoped kind until `shutdown`. With each new client of the API it begins anew; what
/// was read before counts until the new list is complete.
pub async fn follow<K>(
    keeper: impl Keeper<K>,
    kubernetes: Kubernetes,
    part: Part,
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let following = async {
        loop {
            let mut clients = kubernetes.clients();
            let client = clients.borrow_and_update().clone();
            match client {
                None => tokio::time::sleep(CLIENT_EVERY).await,
                Some(client) => {
                    tokio::select! {
                        () = watch_with(&keeper, client, &part) => {}
                        changed = clients.changed() => if changed.is_err() {
                            // It never changes any more: the client that is there is the last.
                            tokio::time::sleep(CLIENT_EVERY).await;
                        },
                    }
                }
            }
        }
    };
    shutdown.run_until_cancelled(following).await;
}

async fn watch_with<K>(keeper: &impl Keeper<K>, client: Client, part: &Part)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&());
    let objects: Api<DeserializeGuard<K>> = Api::all(client);
    let named = |object: DeserializeGuard<K>| {
        let name = object.meta().name.clone()?;
        let seen = object.0.map_err(|invalid| {
            tracing::warn!(kind = %kind, name, error = invalid.error, "object cannot be read");
            invalid.metadata
        });
        Some((name, seen))
    };
    let mut events = std::pin::pin!(watch(objects, watcher::Config::default()).backoff(Steady));
    let mut listing = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => listing.extend(named(object)),
            Ok(Event::InitDone) => {
                keeper.listed(std::mem::take(&mut listing));
                part.set(State::Up);
            }
            Ok(Event::Apply(object)) => {
                if let Some((name, seen)) = named(object) {
                    keeper.changed(name, seen);
                }
            }
            Ok(Event::Delete(object)) => {
                keeper.removed(object.meta().name.as_deref().unwrap_or_default());
            }
            Err(error) => {
                let error = bloomery_base::chain(&error);
                tracing::debug!(kind = %kind, error, "watch interrupted");
                part.set(State::Down(error));
            }
        }
    }
}

/// The same pause each time.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}
