//! What an order changes: a pure function of the objects.
//!
//! Never changes a record of disks: that a machine has another board ends no cluster's claim and begins none.

use std::collections::BTreeSet;

use bloomery_api::decision::identity::{
    DISTINCT_FROM_ANNOTATION, Marks, RIVAL_ANNOTATION, SYSTEM_UUID_ANNOTATION, rivals,
};
use bloomery_api::evidence::{DiskRecord, FORGET_ANNOTATION};
use bloomery_api::hardware::{HardwareInformation, NetworkInterface};
use bloomery_api::{Server, placeholder};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

/// The other side of an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Other {
    /// A Server, and whether a `ServerBinding` has its name.
    Server { server: Box<Server>, bound: bool },
    /// A machine without a Server, which showed the UUID of one.
    Rival(Marks),
}

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// One machine is no two.
    #[error("failed to use {name} twice: an order is about two machines")]
    Same { name: String },
    /// Nothing is known by that word.
    #[error(
        "failed to use {other:?}: there is no such Server, and no machine with that network card showed the UUID of \
         {server} (seen: {seen}); look at: kubectl describe server {server}"
    )]
    Unknown { other: String, server: String, seen: String },
    /// A claimed Server would go away.
    #[error(
        "failed to merge {name}: a cluster has it or may have it, and it would lose its Server; merge the other one \
         into it, or release it first: delete its MetalMachine or Machine"
    )]
    Claimed { name: String },
    /// There are no marks to take over.
    #[error(
        "failed to merge {name}: it has no inventory; start its machine, which registers again, and try again"
    )]
    NoInventory { name: String },
    /// It goes away already.
    #[error("failed to use {name}: it is being deleted; wait until it is gone, and try again")]
    Deleted { name: String },
    /// A cluster has it.
    #[error(
        "failed to forget {name}: a cluster has it; release it first: delete its MetalMachine or Machine, or, if that \
         is lost, kubectl delete serverbinding {name}"
    )]
    Bound { name: String },
}

/// Which machine the word means, of a Server that is in conflict with it.
pub(super) fn rival(word: &str, server: &Server) -> Result<Other, Refusal> {
    let all = rivals(server);
    let card = placeholder::card(word);
    let uuid = placeholder::uuid(word);
    let is_meant = |marks: &Marks| {
        card.as_ref().is_some_and(|card| marks.cards.contains(card))
            || uuid.as_ref().is_some_and(|uuid| marks.uuids.contains(uuid))
    };
    if let Some(rival) = all.iter().find(|rival| is_meant(&rival.marks)) {
        return Ok(Other::Rival(rival.marks.clone()));
    }
    let seen: Vec<&str> = all.iter().flat_map(|rival| &rival.marks.cards).map(String::as_str).collect();
    Err(Refusal::Unknown {
        other: word.to_owned(),
        server: server.name_any(),
        seen: if seen.is_empty() { "none".to_owned() } else { seen.join(", ") },
    })
}

/// The change of the Server that stays.
pub(super) fn merge(into: &Server, other: &Other) -> Result<Value, Refusal> {
    let name = into.name_any();
    alive(into)?;
    let (hardware, marks) = match other {
        Other::Server { server, bound } => {
            alive(server)?;
            let other = server.name_any();
            if other == name {
                return Err(Refusal::Same { name });
            }
            let in_use = server.status.as_ref().is_some_and(|status| status.in_use);
            let claim = DiskRecord::of(server).is_some_and(|record| record.state.is_claim());
            if *bound || in_use || claim {
                return Err(Refusal::Claimed { name: other });
            }
            let hardware = server.spec.hardware.clone().ok_or(Refusal::NoInventory { name: other })?;
            (hardware, Marks::of_server(server))
        }
        Other::Rival(marks) => (with_marks(into.spec.hardware.as_ref(), marks), marks.clone()),
    };
    let uuids: BTreeSet<String> = Marks::of_server(into).uuids.into_iter().chain(marks.uuids).collect();
    let mut annotations = Map::new();
    annotations.insert(SYSTEM_UUID_ANNOTATION.to_owned(), json!(joined(uuids)));
    annotations.insert(RIVAL_ANNOTATION.to_owned(), Value::Null);
    Ok(change(into, &annotations, Some(json!({ "hardware": hardware }))))
}

/// The change of the Server that is declared to be another machine than `other`.
pub(super) fn split(server: &Server, other: &Other) -> Result<Value, Refusal> {
    alive(server)?;
    let name = server.name_any();
    let others: Vec<String> = match other {
        Other::Server { server, bound: _ } if server.name_any() == name => {
            return Err(Refusal::Same { name });
        }
        Other::Server { server, bound: _ } => vec![server.name_any()],
        Other::Rival(marks) => marks.cards.iter().cloned().collect(),
    };
    let known = server.annotations().get(DISTINCT_FROM_ANNOTATION).map_or("", String::as_str);
    let known = known.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned);
    let all: BTreeSet<String> = known.chain(others).collect();
    let mut annotations = Map::new();
    annotations.insert(DISTINCT_FROM_ANNOTATION.to_owned(), json!(joined(all)));
    if let Other::Rival(_) = other {
        // Those that are left show themselves again.
        annotations.insert(RIVAL_ANNOTATION.to_owned(), Value::Null);
    }
    Ok(change(server, &annotations, None))
}

/// The change that lets a claimed Server be deleted.
pub(super) fn forget(server: &Server, bound: bool) -> Result<Value, Refusal> {
    if bound {
        return Err(Refusal::Bound { name: server.name_any() });
    }
    let mut annotations = Map::new();
    annotations.insert(FORGET_ANNOTATION.to_owned(), json!(server.metadata.uid));
    Ok(change(server, &annotations, None))
}

fn alive(server: &Server) -> Result<(), Refusal> {
    match server.metadata.deletion_timestamp {
        Some(_) => Err(Refusal::Deleted { name: server.name_any() }),
        None => Ok(()),
    }
}

/// A merge patch that the API server takes of no other state of the object.
fn change(server: &Server, annotations: &Map<String, Value>, spec: Option<Value>) -> Value {
    let mut patch = json!({ "metadata": {
        "annotations": annotations,
        "uid": server.metadata.uid,
        "resourceVersion": server.metadata.resource_version,
    } });
    if let Some(spec) = spec {
        patch["spec"] = spec;
    }
    patch
}

/// The inventory with the marks of another machine; the rest follows when its agent calls.
fn with_marks(known: Option<&HardwareInformation>, marks: &Marks) -> HardwareInformation {
    let mut hardware = known.cloned().unwrap_or_default();
    if let Some(serial) = &marks.serial {
        hardware.system.get_or_insert_default().serial_number.clone_from(serial);
    }
    let card = |mac: &String| NetworkInterface { mac: mac.clone(), ..NetworkInterface::default() };
    hardware.network.get_or_insert_default().interfaces = marks.cards.iter().map(card).collect();
    hardware
}

fn joined(words: BTreeSet<String>) -> String {
    words.into_iter().collect::<Vec<_>>().join(",")
}
