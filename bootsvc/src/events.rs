//! Events on Servers, recorded beside the answers and never in their way.
//!
//! Same events that wait together become one with a count. It must never hold more than its queue: when
//! that is full, an event is dropped and counted; the log has it all the same.

use std::sync::Arc;

use bloomery_api::Server;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Resource};
use tokio::sync::{Semaphore, mpsc};

use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};

/// Events of cluster-scoped objects land here.
const NAMESPACE: &str = "default";
/// Source of our events (spec/sidero.md §5.3).
const COMPONENT: &str = "sidero-server";
/// Events that may wait: two for each of two thousand machines.
const QUEUE: usize = 4096;
/// Events taken from the queue at once.
const BATCH: usize = 256;
/// Writes under way at once; registrations come first.
const WRITERS: usize = 4;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The Server.
    pub server: String,
    /// Its `metadata.uid`.
    pub uid: Option<String>,
    /// Whether it is a warning.
    pub warning: bool,
    /// Reason, as upstream words it.
    pub reason: &'static str,
    /// Sentence for a person.
    pub message: String,
}

impl Happening {
    /// Something about `server`.
    pub fn of(server: &Server, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            server: server.metadata.name.clone().unwrap_or_default(),
            uid: server.metadata.uid.clone(),
            warning: false,
            reason,
            message: message.into(),
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Self { warning: true, ..self }
    }
}

/// Takes events. They are written until the last clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Happening>);

impl Events {
    /// Starts the task that writes.
    pub fn start(kubernetes: Kubernetes) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(kubernetes, queue));
        Self(sender)
    }

    /// Records an event some time soon.
    pub fn record(&self, happening: Happening) {
        if let Err(error) = self.0.try_send(happening) {
            let (mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) = error;
            tracing::warn!(server = lost.server, reason = lost.reason, "event dropped: too many wait");
        }
    }
}

async fn write_all(kubernetes: Kubernetes, mut queue: mpsc::Receiver<Happening>) {
    let writers = Arc::new(Semaphore::new(WRITERS));
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        for (happening, count) in coalesce(batch.drain(..)) {
            // The semaphore is never closed.
            let Ok(slot) = writers.clone().acquire_owned().await else { return };
            let kubernetes = kubernetes.clone();
            tokio::spawn(async move {
                write(&kubernetes, &happening, count).await;
                drop(slot);
            });
        }
    }
}

/// Joins what is the same, in the order of first appearance.
fn coalesce(batch: impl Iterator<Item = Happening>) -> Vec<(Happening, i32)> {
    let mut joined: Vec<(Happening, i32)> = Vec::new();
    for happening in batch {
        match joined.iter_mut().find(|(known, _)| *known == happening) {
            Some((_, count)) => *count += 1,
            None => joined.push((happening, 1)),
        }
    }
    joined
}

async fn write(kubernetes: &Kubernetes, happening: &Happening, count: i32) {
    let Some(client) = kubernetes.client() else { return };
    let Happening { server, uid, warning, reason, message } = happening;
    let now = Timestamp::now();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{server}.{:x}{:04x}", now.as_nanosecond(), rand::random::<u16>())),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(Server::api_version(&()).into_owned()),
            kind: Some(Server::kind(&()).into_owned()),
            name: Some(server.clone()),
            uid: uid.clone(),
            ..ObjectReference::default()
        },
        reason: Some((*reason).to_owned()),
        message: Some(message.clone()),
        type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(count),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client, NAMESPACE);
    let written = tokio::time::timeout(ANSWER_WITHIN, events.create(&PostParams::default(), &event)).await;
    // What it tells has happened; a lost event changes nothing.
    if let Ok(Err(error)) = written {
        tracing::warn!(server, reason, error = bloomery_base::chain(&error), "event not recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(message: &str) -> Happening {
        let server = Server::new("a", bloomery_api::ServerSpec::default());
        Happening::of(&server, "Server Wipe", message)
    }

    #[test]
    fn same_events_become_one() {
        let batch = ["x", "y", "x", "x"].map(happening);
        let joined = coalesce(batch.into_iter().chain([happening("y").warning()]));
        let counts: Vec<_> = joined.iter().map(|(event, count)| (event.message.as_str(), *count)).collect();
        assert_eq!(counts, [("x", 3), ("y", 1), ("y", 1)]);
    }

    #[tokio::test]
    async fn a_full_queue_never_blocks() {
        let (sender, _queue) = mpsc::channel(1);
        let events = Events(sender);
        for _ in 0..10 {
            events.record(happening("x"));
        }
    }
}
