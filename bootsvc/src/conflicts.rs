//! Notes on Servers that a machine which is not theirs shows their marks, for a person to decide.
//!
//! It must never hold or change anything else of such a Server: a stranger could stop machines by saying names.

use std::sync::Arc;

use bloomery_api::Server;
use bloomery_api::decision::identity::{Identity, Marks, RIVAL_ANNOTATION, Rival};
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::Authority;
use serde_json::json;

use crate::events::{Events, Happening};
use crate::http::lookup;
use crate::kubernetes::Kubernetes;
use crate::metrics::Metrics;
use crate::servers::Servers;
use crate::writes::{self, Part, Written};

/// Reason of the events.
pub const REASON: &str = "Identity Conflict";
/// Servers that one machine's marks are noted on.
const MOST_SERVERS: usize = 4;

/// Notes conflicts. Clones share what they work with.
#[derive(Clone)]
pub struct Conflicts {
    /// The Kubernetes API.
    pub kubernetes: Kubernetes,
    /// All Servers.
    pub servers: Servers,
    /// Where events go.
    pub events: Events,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Conflicts {
    /// Notes a machine on all Servers whose marks it shows without being, for sure, their machine. What fails is tried
    /// again when it is seen again.
    pub async fn note(&self, identity: &Identity, marks: &Marks, authority: &Authority) {
        if !authority.acts() {
            return;
        }
        for name in concerned(identity) {
            // Most often it is there already: then nothing is asked.
            if self.servers.known(name).is_none_or(|known| Rival::noted(&known.server, marks).is_some()) {
                self.note_on(name, marks, authority).await;
            }
        }
    }

    async fn note_on(&self, name: &str, marks: &Marks, authority: &Authority) {
        let Some(client) = self.kubernetes.client() else { return };
        let Lookup::Found(server) = lookup::get::<Server>(&client, name).await else { return };
        let Some(rivals) = Rival::noted(&server, marks) else { return };
        let change = json!({ "metadata": { "annotations": { RIVAL_ANNOTATION: rivals } } });
        match writes::merge(&client, &server, change, Part::Object).await {
            Ok(Written::Done(server)) => {
                tracing::warn!(server = name, ?marks, "another machine shows the marks of a Server");
                self.metrics.identity_conflicts.increment();
                self.servers.note(&server);
                let conflict = self.servers.conflict(&server, authority);
                if let Ok(Some(conflict)) = conflict {
                    let text = format!("{}.", conflict.message(name));
                    self.events.record(Happening::of(&server, REASON, text).warning());
                }
            }
            Ok(Written::Changed) => {}
            Err(error) => {
                tracing::warn!(server = name, error = bloomery_base::chain(&error), "conflict not noted");
            }
        }
    }
}

fn concerned(identity: &Identity) -> impl Iterator<Item = &str> {
    let (other, peers) = match identity {
        Identity::Other { server, why: _ } => (Some(server.as_str()), &[][..]),
        Identity::Suspect { peers } => (None, peers.as_slice()),
        Identity::Same { .. } | Identity::New | Identity::Unnamed => (None, &[][..]),
    };
    let peers = peers.iter().filter(|peer| !peer.is_tombstone).map(|peer| peer.server.as_str());
    other.into_iter().chain(peers).take(MOST_SERVERS)
}
