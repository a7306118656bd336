//! One watch of one kind for a whole process: a trimmed cache, and changes for everybody who asks.
//!
//! Each further watch would have the API server decode every change once more. A cache can be behind: what is read from it
//! is acted on only by writes that carry the version that was read.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::{Stream, StreamExt};
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::{chain, growing};

/// Delays after failures, growing: an API server on the same machine is back within seconds, and machines wait for it.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// How often the first client is looked for.
const CLIENT_EVERY: Duration = Duration::from_millis(500);

/// Annotations that are copies of the whole object, for others.
const COPIES: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "cluster.x-k8s.io/conversion-data"];

/// What is watched: an object of a kind with fixed names.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// What happened to the objects of a kind. The cache shows it by then.
#[derive(Debug)]
pub enum Change<K> {
    /// The object was made or changed, or is part of a new list.
    Applied(Arc<K>),
    /// The object is gone; this is how it was last.
    Deleted(Arc<K>),
    /// All objects of a new list were told.
    Listed,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(object) => Self::Applied(Arc::clone(object)),
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
            Self::Listed => Self::Listed,
        }
    }
}

impl<K> Change<K> {
    /// The object, if it exists.
    pub fn applied(self) -> Option<Arc<K>> {
        match self {
            Self::Applied(object) => Some(object),
            Self::Deleted(_) | Self::Listed => None,
        }
    }

    /// The object, whether it exists or not.
    pub fn touched(self) -> Option<Arc<K>> {
        match self {
            Self::Applied(object) | Self::Deleted(object) => Some(object),
            Self::Listed => None,
        }
    }
}

/// What was seen last of every object. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache<K: Watched> {
    store: Store<K>,
    /// The store's own word for it wakes only the task that asked last.
    listed: watch::Receiver<bool>,
}

impl<K: Watched> Cache<K> {
    /// The object of this name in no namespace.
    pub fn named(&self, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectRef::new(name))
    }

    /// The object.
    pub fn get(&self, object: &ObjectRef<K>) -> Option<Arc<K>> {
        self.store.get(object)
    }

    /// All that are known so far.
    pub fn known(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// How many are known so far.
    pub fn count(&self) -> usize {
        self.store.len()
    }

    /// Whether the first list is complete: before that there seem to be none.
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// Waits for the first list.
    pub async fn until_listed(&self) {
        // An error means that the watch has ended, and then this process is about to.
        let _ = self.listed.clone().wait_for(|listed| *listed).await;
    }

    /// All of them. Waits for the first list.
    pub async fn all(&self) -> Vec<Arc<K>> {
        self.until_listed().await;
        self.known()
    }

    /// As kube's controllers want it.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }
}

type Observer<K> = Box<dyn FnMut(&Change<K>) + Send>;

/// The cache and everybody who is told of changes: a watch without its connection.
pub struct Feed<K: Watched> {
    writer: Writer<K>,
    cache: Cache<K>,
    complete: watch::Sender<bool>,
    observers: Vec<Observer<K>>,
}

impl<K: Watched> Default for Feed<K> {
    fn default() -> Self {
        let (store, writer) = reflector::store();
        let (complete, listed) = watch::channel(false);
        Self { writer, cache: Cache { store, listed }, complete, observers: Vec::new() }
    }
}

impl<K: Watched> Feed<K> {
    /// Watches all objects of a cluster-scoped kind for ever, with the client as soon as there is one.
    pub async fn run(self, client: impl Fn() -> Option<Client>)
    where
        K: Resource<Scope = ClusterResourceScope>,
    {
        let client = loop {
            match client() {
                Some(client) => break client,
                None => tokio::time::sleep(CLIENT_EVERY).await,
            }
        };
        Watch { feed: self, ..Watch::new(Api::all(client)) }.run().await;
    }

    /// The cache, filled as events are seen.
    pub fn cache(&self) -> Cache<K> {
        self.cache.clone()
    }

    /// Has every change seen at once, by this observer before all that come after it.
    pub fn observe(&mut self, observer: impl FnMut(&Change<K>) + Send + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// The changes, for one controller. They wait for it without bound: a controller only notes which object it is.
    pub fn subscribe(&mut self) -> impl Stream<Item = Change<K>> + Send + use<K> {
        let (sender, receiver): (UnboundedSender<Change<K>>, _) = unbounded_channel();
        self.observe(move |change| {
            // Fails once nobody listens any more.
            let _ = sender.send(change.clone());
        });
        futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
    }

    /// Takes an event of the watch.
    pub fn see(&mut self, mut event: Event<K>) {
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
            trim(object.meta_mut());
        }
        let before = if matches!(event, Event::InitDone) { self.cache.known() } else { Vec::new() };
        self.writer.apply_watcher_event(&event);
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::Apply(object) => self.tell(&Change::Applied(Arc::new(object))),
            Event::Delete(object) => self.tell(&Change::Deleted(Arc::new(object))),
            Event::InitDone => {
                let all = self.cache.known();
                let names: HashSet<_> = all.iter().map(|object| key(object.as_ref())).collect();
                for object in before {
                    if !names.contains(&key(object.as_ref())) {
                        self.tell(&Change::Deleted(object));
                    }
                }
                for object in &all {
                    self.tell(&Change::Applied(Arc::clone(object)));
                }
                self.tell(&Change::Listed);
                self.complete.send_replace(true);
            }
        }
    }

    fn tell(&mut self, change: &Change<K>) {
        for observer in &mut self.observers {
            observer(change);
        }
    }
}

/// The watch, before it runs.
pub struct Watch<K: Watched> {
    api: Api<K>,
    config: watcher::Config,
    /// Where its changes are told.
    pub feed: Feed<K>,
}

impl<K: Watched> Watch<K> {
    /// Of all objects that `api` shows.
    pub fn new(api: Api<K>) -> Self {
        Self { api, config: watcher::Config::default(), feed: Feed::default() }
    }

    /// Of those with these labels.
    pub fn labelled(api: Api<K>, labels: &str) -> Self {
        Self { config: watcher::Config::default().labels(labels), ..Self::new(api) }
    }

    /// Watches for ever. Failures are logged, the first of a row as a warning, and tried again.
    pub async fn run(self) {
        let Self { api, config, mut feed } = self;
        let events = watcher::watcher(api, config).backoff(Delays::default());
        let mut events = std::pin::pin!(events);
        let mut is_down = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    is_down = false;
                    feed.see(event);
                }
                Err(error) => {
                    let (kind, error) = (K::kind(&()), chain(&error));
                    if std::mem::replace(&mut is_down, true) {
                        debug!(%kind, error, "watch interrupted");
                    } else {
                        warn!(%kind, error, "watch interrupted");
                    }
                }
            }
        }
    }
}

struct Delays(ExponentialBackoff);

impl Default for Delays {
    fn default() -> Self {
        Self(growing(FIRST_DELAY, LONGEST_DELAY))
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

fn key<K: Resource>(object: &K) -> (Option<&str>, Option<&str>) {
    (object.meta().namespace.as_deref(), object.meta().name.as_deref())
}

/// Who wrote which field is most of an object, and nobody asks for it in a cache.
fn trim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        for name in COPIES {
            annotations.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn map(name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        map.metadata.annotations =
            Some(COPIES.iter().chain(&["kept"]).map(|a| ((*a).to_owned(), String::new())).collect());
        map
    }

    fn list(feed: &mut Feed<ConfigMap>, names: &[&str]) {
        feed.see(Event::Init);
        for name in names {
            feed.see(Event::InitApply(map(name)));
        }
        feed.see(Event::InitDone);
    }

    fn text(change: &Change<ConfigMap>) -> String {
        let name = |object: &Arc<ConfigMap>| object.metadata.name.clone().unwrap();
        match change {
            Change::Applied(object) => format!("+{}", name(object)),
            Change::Deleted(object) => format!("-{}", name(object)),
            Change::Listed => "listed".to_owned(),
        }
    }

    #[tokio::test]
    async fn everybody_is_told_of_every_change_and_of_what_vanished_between_two_lists() {
        let mut feed = Feed::default();
        let streams = [feed.subscribe().boxed(), feed.subscribe().boxed()];
        list(&mut feed, &["a"]);
        feed.see(Event::Apply(map("b")));
        feed.see(Event::Delete(map("b")));
        list(&mut feed, &["c"]);
        let cache = feed.cache();
        drop(feed);
        for stream in streams {
            let told: Vec<_> = stream.map(|change| text(&change)).collect().await;
            assert_eq!(told, ["+a", "listed", "+b", "-b", "-a", "+c", "listed"]);
        }
        assert!(cache.named("a").is_none());
        let kept = cache.named("c").unwrap();
        assert_eq!(kept.metadata.managed_fields, None);
        assert_eq!(kept.metadata.annotations.as_ref().unwrap().keys().collect::<Vec<_>>(), ["kept"]);
    }

    #[tokio::test]
    async fn everybody_who_waits_for_the_first_list_gets_it() {
        let mut feed = Feed::default();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let cache = feed.cache();
                tokio::spawn(async move { cache.all().await.len() })
            })
            .collect();
        feed.see(Event::Init);
        feed.see(Event::InitApply(map("a")));
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiter| !waiter.is_finished()) && !feed.cache().is_listed());
        feed.see(Event::InitDone);
        for waiter in waiting {
            let counted = tokio::time::timeout(Duration::from_secs(10), waiter).await;
            assert_eq!(counted.expect("it was woken").unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn an_observer_sees_a_change_with_the_cache_and_before_those_after_it() {
        let mut feed = Feed::default();
        let cache = feed.cache();
        let (seen, mut told) = unbounded_channel();
        feed.observe(move |change| {
            seen.send((text(change), cache.count())).unwrap();
        });
        let mut changes = feed.subscribe().boxed();
        feed.see(Event::Apply(map("a")));
        assert_eq!(told.try_recv().unwrap(), ("+a".to_owned(), 1));
        assert_eq!(text(&changes.next().await.unwrap()), "+a");
    }
}
