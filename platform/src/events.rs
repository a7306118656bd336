//! Events, recorded beside the work and never in its way.
//!
//! Events of a burst that tell the same of one object become one with a count, and so does a repetition within minutes.
//! Good news that a burst tells of many objects become one event on an object that stands for all of them: a hall of
//! machines that registers would cost the API server as much by its events as by itself.
//! The queue is bounded: when it is full, an event is dropped, and the log says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::chain;

/// Events of cluster-scoped objects land here.
const DEFAULT_NAMESPACE: &str = "default";
/// Events that may wait: two for each of two thousand machines.
const QUEUE: usize = 4096;
/// Events taken from the queue at once.
const BURST: usize = 1024;
/// How long events are gathered after the first of a burst.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// Objects of which a burst tells the same good news, each in an event of its own.
const MOST_ALONE: usize = 8;
/// Objects that an event of many names.
const MOST_NAMED: usize = 4;
/// Writes under way at once.
const WRITERS: usize = 4;
/// A repetition within this time is counted in the event that is there.
const REPEATED_WITHIN: Duration = Duration::from_mins(6);
/// Events that are remembered, so that their repetitions are counted.
const REMEMBERED: usize = 1024;

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is a warning.
    pub warning: bool,
    /// The reason, as upstream words it.
    pub reason: &'static str,
    /// What was done or tried. Of one reason and action, the last message of a burst is told.
    pub action: &'static str,
    /// A sentence for a person.
    pub message: String,
}

/// What makes two events one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// The object: kind, namespace, name and uid.
    object: [Option<String>; 4],
    warning: bool,
    reason: &'static str,
    action: &'static str,
}

/// An event that waits, and how often it happened.
#[derive(Debug, Clone)]
struct Pending {
    object: ObjectReference,
    notice: Notice,
    count: i32,
}

impl Pending {
    fn key(&self) -> Key {
        let ObjectReference { kind, namespace, name, uid, .. } = self.object.clone();
        let Notice { warning, reason, action, message: _ } = self.notice;
        Key { object: [kind, namespace, name, uid], warning, reason, action }
    }
}

/// An event that was written.
struct Told {
    event: String,
    message: String,
    count: i32,
    at: Instant,
}

/// Takes events. They are written until the last clone is gone and the queue is empty.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Pending>);

impl Recorder {
    /// Starts the task that writes in the name of `component`. Its end means that everything was written. Events of many
    /// objects are told of `all`.
    pub fn start(
        component: &'static str,
        all: ObjectReference,
        client: impl Fn() -> Option<Client> + Send + Sync + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer { component, client: Box::new(client), told: Mutex::default() };
        (Self(sender), tokio::spawn(write_all(Arc::new(writer), all, queue)))
    }

    /// Records an event some time soon.
    pub fn record(&self, object: ObjectReference, notice: Notice) {
        let pending = Pending { object, notice, count: 1 };
        if let Err(error) = self.0.try_send(pending) {
            let (mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) = error;
            let (object, reason) = (lost.object.name, lost.notice.reason);
            warn!(object, reason, "event dropped: too many wait");
        }
    }
}

struct Writer {
    component: &'static str,
    client: Box<dyn Fn() -> Option<Client> + Send + Sync>,
    told: Mutex<HashMap<Key, Told>>,
}

async fn write_all(writer: Arc<Writer>, all: ObjectReference, mut queue: mpsc::Receiver<Pending>) {
    let mut burst = Vec::new();
    while queue.recv_many(&mut burst, BURST).await > 0 {
        let gathering =
            async { while burst.len() < BURST && queue.recv_many(&mut burst, BURST).await > 0 {} };
        // An error means that the time is over, and what came is there.
        let _ = tokio::time::timeout(GATHERED_FOR, gathering).await;
        let events = futures::stream::iter(gather(coalesce(burst.drain(..)), &all));
        events.for_each_concurrent(WRITERS, |pending| writer.write(pending)).await;
    }
}

/// Joins what is the same, in the order of first appearance; the last message stays.
fn coalesce(burst: impl Iterator<Item = Pending>) -> Vec<Pending> {
    let mut joined: Vec<Pending> = Vec::new();
    let mut places = HashMap::new();
    for pending in burst {
        let place = *places.entry(pending.key()).or_insert(joined.len());
        match joined.get_mut(place) {
            Some(first) => {
                first.count += 1;
                first.notice.message = pending.notice.message;
            }
            None => joined.push(pending),
        }
    }
    joined
}

/// Makes one event of what is told of many objects. Warnings stay where people look for them.
fn gather(events: Vec<Pending>, all: &ObjectReference) -> Vec<Pending> {
    type News = (Option<String>, &'static str, &'static str, String);
    let news = |pending: &Pending| -> Option<News> {
        let Notice { warning, reason, action, message } = &pending.notice;
        (!warning).then(|| (pending.object.kind.clone(), *reason, *action, message.clone()))
    };
    let mut told: HashMap<News, Vec<String>> = HashMap::new();
    for (news, name) in events.iter().filter_map(|event| Some((news(event)?, event.object.name.clone()?))) {
        told.entry(news).or_default().push(name);
    }
    told.retain(|_, names| names.len() > MOST_ALONE);
    let mut kept: Vec<Pending> = Vec::new();
    for event in events {
        match news(&event) {
            // The first of them stands for all.
            Some(news) if told.contains_key(&news) => {
                if let Some(names) = told.get_mut(&news).map(std::mem::take).filter(|names| !names.is_empty())
                {
                    let notice =
                        Notice { message: in_words(&news.3, &names, news.0.as_deref()), ..event.notice };
                    kept.push(Pending { object: all.clone(), notice, count: 1 });
                }
            }
            _ => kept.push(event),
        }
    }
    kept
}

fn in_words(message: &str, names: &[String], kind: Option<&str>) -> String {
    let first = names.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(MOST_NAMED);
    format!("{} {}s: {message} ({first} and {more} more)", names.len(), kind.unwrap_or("object"))
}

impl Writer {
    async fn write(&self, pending: Pending) {
        let Some(client) = (self.client)() else { return };
        let key = pending.key();
        let Pending { object, notice, count } = pending;
        let namespace = object.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let events: Api<Event> = Api::namespaced(client, namespace);
        let known = self.repeats(&key, &notice.message);
        let written = if let Some((event, before)) = &known {
            let patch = json!({ "count": before + count, "lastTimestamp": Time(Timestamp::now()) });
            events.patch(event, &PatchParams::default(), &Patch::Merge(patch)).await
        } else {
            let event = self.event(namespace, &object, &notice, count);
            events.create(&PostParams::default(), &event).await
        };
        match written {
            Ok(event) => {
                let event = event.metadata.name.unwrap_or_default();
                let count = count + known.map_or(0, |(_, before)| before);
                self.remember(key, Told { event, message: notice.message, count, at: Instant::now() });
            }
            // What it tells has happened; a lost event changes nothing. The API server removes events after an hour.
            Err(error) => {
                self.told.lock().remove(&key);
                let (object, reason) = (object.name, notice.reason);
                warn!(object, reason, error = chain(&error), "event not recorded");
            }
        }
    }

    /// The event to count a repetition in, and its count.
    fn repeats(&self, key: &Key, message: &str) -> Option<(String, i32)> {
        let told = self.told.lock();
        let told = told.get(key).filter(|told| told.message == message)?;
        (told.at.elapsed() < REPEATED_WITHIN).then(|| (told.event.clone(), told.count))
    }

    fn remember(&self, key: Key, told: Told) {
        let mut all = self.told.lock();
        if all.len() >= REMEMBERED && !all.contains_key(&key) {
            all.retain(|_, told| told.at.elapsed() < REPEATED_WITHIN);
            if all.len() >= REMEMBERED {
                // What is repeated after this begins a new event, no more.
                all.clear();
            }
        }
        all.insert(key, told);
    }

    fn event(&self, namespace: &str, object: &ObjectReference, notice: &Notice, count: i32) -> Event {
        let now = Timestamp::now();
        let Notice { warning, reason, action, message } = notice;
        let name = object.name.as_deref().unwrap_or(self.component);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}{:04x}", now.as_nanosecond(), rand::random::<u16>())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            action: Some((*action).to_owned()),
            reason: Some((*reason).to_owned()),
            message: Some(message.clone()),
            type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
            count: Some(count),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests;
