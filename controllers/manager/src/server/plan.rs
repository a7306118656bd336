//! What to change about a Server: a pure function of it, its binding and the time.
//!
//! Never decides by itself: [`bloomery_api::decision`] does; here its answer becomes patches and events.

use bloomery_api::decision::Standing;
use bloomery_api::decision::status::{FinalizerChange, StatusDecision, status};
use bloomery_api::server::{FINALIZER, Power};
use bloomery_api::{Server, ServerBinding, ServerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::EventType;
use serde_json::{Map, Value, json};

use crate::reconcile::Notice;

/// What a reconcile changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Where the machine stands.
    pub(super) standing: Standing,
    /// Merge patch of the metadata, if it changes.
    pub(super) metadata: Option<Value>,
    /// Whether the Server is gone once the metadata is patched.
    pub(super) vanishes: bool,
    /// The status to write, if it changes.
    pub(super) status: Option<ServerStatus>,
    /// Events to record once the status is written.
    pub(super) notices: Vec<Notice>,
}

/// Plans one reconcile.
pub(super) fn plan(server: &Server, binding: Option<&ServerBinding>, now: &Time) -> Plan {
    // Nobody asks a management controller yet, so nothing is known about power.
    let StatusDecision { standing, status: wanted, finalizer, clear_owners, released } =
        status(server, binding, Power::Unknown, now);
    let mut notices = Vec::new();
    if released {
        notices.push(Notice {
            type_: EventType::Normal,
            reason: "Server Allocation",
            message: "Server marked as unallocated.".to_owned(),
        });
    }
    Plan {
        standing,
        metadata: metadata(server, finalizer, clear_owners),
        vanishes: finalizer == FinalizerChange::Remove && only_our_finalizer(server),
        status: (server.status.as_ref() != Some(&wanted)).then_some(wanted),
        notices,
    }
}

fn metadata(server: &Server, finalizer: FinalizerChange, clear_owners: bool) -> Option<Value> {
    let others = || server.metadata.finalizers.iter().flatten().filter(|name| *name != FINALIZER);
    let mut patch = Map::new();
    match finalizer {
        FinalizerChange::Keep => {}
        FinalizerChange::Add => {
            let all: Vec<&str> = others().map(String::as_str).chain([FINALIZER]).collect();
            patch.insert("finalizers".to_owned(), json!(all));
        }
        FinalizerChange::Remove => {
            let rest: Vec<&str> = others().map(String::as_str).collect();
            patch.insert("finalizers".to_owned(), json!(rest));
        }
    }
    if clear_owners {
        patch.insert("ownerReferences".to_owned(), json!([]));
    }
    if patch.is_empty() {
        return None;
    }
    // Lists are replaced as a whole, so a write in between must not be lost.
    patch.insert("resourceVersion".to_owned(), json!(server.metadata.resource_version));
    Some(json!({ "metadata": patch }))
}

fn only_our_finalizer(server: &Server) -> bool {
    server.metadata.finalizers.iter().flatten().all(|name| name == FINALIZER)
}

#[cfg(test)]
mod tests;
