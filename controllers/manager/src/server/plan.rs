//! What to change about a Server's metadata and its binding's: a pure function of them and the time.
//!
//! Never decides by itself: [`bloomery_api::decision`] does; here its answer becomes patches.

use bloomery_api::Server;
use bloomery_api::decision::Machine;
use bloomery_api::decision::records::{BindingFinalizer, RecordChange, Records, records};
use bloomery_api::decision::status::{FinalizerChange, PowerOutcome, StatusDecision, status};
use bloomery_api::evidence::{CONFIRM_WIPE_ANNOTATION, DISKS_ANNOTATION};
use bloomery_api::plane::PLANE_LABEL;
use bloomery_api::server::FINALIZER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

/// What a reconcile changes before it looks at power.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Merge patch of the metadata, if it changes.
    pub(super) metadata: Option<Value>,
    /// Whether the Server is gone once the metadata is patched.
    pub(super) vanishes: bool,
    /// What to do with the binding's finalizer, after that.
    pub(super) binding_finalizer: BindingFinalizer,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.metadata.is_none() && !self.vanishes && self.binding_finalizer == BindingFinalizer::Keep
    }
}

/// A name for a record.
pub(super) use bloomery_plane::digits as new_record_id;

pub(super) fn plan(machine: &Machine<'_>, now: &Time, id: &str) -> Plan {
    let records = records(machine, now, id);
    // Neither finalizer nor owners follow from what power says.
    let StatusDecision { finalizer, clear_owners, standing: _, status: _, released: _ } =
        status(machine, None, &PowerOutcome::Fake, now);
    let server = machine.server;
    Plan {
        metadata: metadata(server, &records, finalizer, clear_owners),
        vanishes: finalizer == FinalizerChange::Remove && only_our_finalizer(server),
        binding_finalizer: records.finalizer,
    }
}

fn metadata(
    server: &Server,
    records: &Records,
    finalizer: FinalizerChange,
    clear_owners: bool,
) -> Option<Value> {
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
    let mut annotations = Map::new();
    if let RecordChange::Write(record) = &records.record {
        annotations.insert(DISKS_ANNOTATION.to_owned(), json!(record.to_annotation()));
    }
    if records.remove_confirmation {
        annotations.insert(CONFIRM_WIPE_ANNOTATION.to_owned(), Value::Null);
    }
    if !annotations.is_empty() {
        patch.insert("annotations".to_owned(), Value::Object(annotations));
    }
    if let Some(plane) = &records.label {
        patch.insert("labels".to_owned(), json!({ PLANE_LABEL: plane }));
    }
    if patch.is_empty() {
        return None;
    }
    // Lists are replaced as a whole, and a record is of what was read: a write in between must not be lost.
    patch.insert("resourceVersion".to_owned(), json!(server.metadata.resource_version));
    Some(json!({ "metadata": patch }))
}

fn only_our_finalizer(server: &Server) -> bool {
    server.metadata.finalizers.iter().flatten().all(|name| name == FINALIZER)
}

#[cfg(test)]
mod tests;
