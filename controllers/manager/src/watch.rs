//! The one watch of all Servers and the one of their bindings, and the caches that they fill.
//!
//! Several controllers want to know of the same changes: each watch of its own would have the API server decode every
//! change once more. Never an authority: what is read here can be behind, and is only acted on by writes that carry
//! the version that was read.

use std::sync::Arc;

use bloomery_api::{Server, ServerBinding};
use futures::StreamExt;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch::Receiver;

use crate::environment::demand::Demand;
use crate::fleet::Fleet;

/// A Server, or what was wrong with it: one malformed object must not stop the watch.
pub type GuardedServer = DeserializeGuard<Server>;
/// All Servers, malformed ones included, for those who count them.
#[derive(Clone)]
pub struct Servers {
    store: Store<GuardedServer>,
    /// Whether the first list is complete. The store's own word for it wakes only the task that asked last.
    listed: Receiver<bool>,
}

impl Servers {
    /// All of them. Waits for the first list, before which there would seem to be none.
    pub async fn all(&self) -> Vec<Arc<GuardedServer>> {
        // An error means that the watch has ended, and then this process is about to.
        let _ = self.listed.clone().wait_for(|listed| *listed).await;
        self.store.state()
    }

    /// How many are known so far.
    pub fn count(&self) -> usize {
        self.store.len()
    }
}

/// All bindings, without what they say.
pub type Bindings = Store<PartialObjectMeta<ServerBinding>>;

/// A stream of changes that feeds a controller.
type Changes<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// A watch with its cache.
pub struct Watch<K: reflector::Lookup<DynamicType = ()> + 'static> {
    /// What was seen last of every object.
    pub store: Store<K>,
    /// Every change; the cache is filled while it is polled.
    pub changes: Changes<K>,
}

/// The watch of all Servers with what they share, and the names of those that changes of others concern. Every change of
/// one, its deletion included, wakes all of `touched` too, and `demand` sees it.
pub fn servers(
    client: &Client,
    touched: Vec<Arc<Notify>>,
    demand: Demand,
) -> (Watch<GuardedServer>, Servers, Fleet, UnboundedReceiver<String>) {
    let (store, writer) = reflector::store();
    let (fleet, concerned) = Fleet::new(store.clone());
    let seeing = fleet.clone();
    let (complete, listed) = tokio::sync::watch::channel(false);
    let changes = watcher(Api::<GuardedServer>::all(client.clone()), watcher::Config::default())
        .modify(forget_writers)
        .default_backoff()
        .reflect(writer)
        .inspect(move |event| {
            match event {
                Ok(Event::Apply(server) | Event::InitApply(server)) => demand.see(server),
                Ok(Event::InitDone) => {
                    complete.send_replace(true);
                }
                Ok(Event::Init | Event::Delete(_)) | Err(_) => {}
            }
            if let Ok(event) = event {
                seeing.see_server(event);
            }
            for one in &touched {
                one.notify_one();
            }
        })
        .applied_objects()
        .boxed();
    let servers = Servers { store: store.clone(), listed };
    (Watch { store, changes }, servers, fleet, concerned)
}

/// The watch of all bindings, of their metadata alone; every change wakes `touched`, and `fleet` sees it.
pub fn bindings(
    client: &Client,
    fleet: Fleet,
    touched: Arc<Notify>,
) -> Watch<PartialObjectMeta<ServerBinding>> {
    let (store, writer) = reflector::store();
    let bindings: Api<PartialObjectMeta<ServerBinding>> = Api::all(client.clone());
    let changes = watcher(bindings, watcher::Config::default())
        .modify(forget_writers)
        .default_backoff()
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                fleet.see_binding(event);
            }
            touched.notify_one();
        })
        .touched_objects()
        .boxed();
    Watch { store, changes }
}

/// Who wrote which field is most of an object, and nobody asks for it here.
fn forget_writers<K: kube::Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// What the cache has of an object of this name.
pub fn of<K>(store: &Store<K>, name: &str) -> Option<Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&reflector::ObjectRef::new(name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bloomery_api::ServerSpec;

    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_for_the_first_list_gets_it() {
        let (store, mut writer) = reflector::store();
        let (complete, listed) = tokio::sync::watch::channel(false);
        let servers = Servers { store, listed };
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let servers = servers.clone();
                tokio::spawn(async move { servers.all().await.len() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
        let server = DeserializeGuard(Ok(Server::new("m", ServerSpec::default())));
        for event in [Event::Init, Event::InitApply(server), Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
        complete.send_replace(true);
        for waiter in waiting {
            let counted = tokio::time::timeout(Duration::from_secs(10), waiter).await;
            assert_eq!(counted.expect("it was woken").unwrap(), 1);
        }
    }
}
