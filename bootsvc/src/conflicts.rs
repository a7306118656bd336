//! Notes on Servers that a machine which is not theirs shows their marks, for a person to decide.
//!
//! It must never hold or change anything else of such a Server: a stranger could stop machines by saying names.

use bloomery_api::Server;
use bloomery_api::decision::identity::{Identity, Marks, RIVAL_ANNOTATION, Rival};
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::Authority;
use serde_json::json;

use crate::events::Happening;
use crate::kubernetes;
use crate::services::Services;
use crate::writes::{self, Part, Written};

/// Reason of the events.
pub const REASON: &str = "Identity Conflict";
/// Servers that one machine's marks are noted on.
const MOST_SERVERS: usize = 4;

/// Notes a machine on all Servers whose marks it shows without being, for sure, their machine. What fails is tried
/// again when it is seen again.
pub async fn note(services: &Services, identity: &Identity, marks: &Marks, authority: &Authority) {
    if !authority.acts() {
        return;
    }
    for name in concerned(identity) {
        // Most often it is there already: then nothing is asked.
        let known = services.objects.servers.known(name);
        if known.is_none_or(|known| Rival::noted(&known.server, marks).is_some()) {
            note_on(services, name, marks, authority).await;
        }
    }
}

async fn note_on(services: &Services, name: &str, marks: &Marks, authority: &Authority) {
    let Some(client) = services.kubernetes.client() else { return };
    let Lookup::Found(server) = kubernetes::get::<Server>(&client, name).await else { return };
    let Some(rivals) = Rival::noted(&server, marks) else { return };
    let change = json!({ "metadata": { "annotations": { RIVAL_ANNOTATION: rivals } } });
    match writes::merge(&client, &server, change, Part::Object).await {
        Ok(Written::Done(server)) => {
            tracing::warn!(server = name, ?marks, "another machine shows the marks of a Server");
            services.edge.metrics.identity_conflicts.inc();
            services.objects.servers.note(&server);
            if let Ok(Some(conflict)) = services.objects.servers.conflict(&server, authority) {
                let text = format!("{}.", conflict.message(name));
                services.events.record(Happening::of(&server, REASON, text).warning());
            }
        }
        Ok(Written::Changed) => {}
        Err(error) => {
            tracing::warn!(server = name, error = bloomery_base::chain(&error), "conflict not noted");
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
