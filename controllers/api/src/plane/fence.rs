//! When a plane stops itself: what looks as if its machines went to another plane, or as if its state was tampered with.
//!
//! Duty: what counts, and the text of the mark. While the mark ([`super::FENCED_ANNOTATION`]) is on the Plane object the
//! plane neither powers nor wipes nor accepts machines, records nothing, and gives no Environment; nodes still get to
//! their disks. A person who has looked removes the mark; what it was set for does not set it again, except objects that
//! are still being moved.
//! Never takes the mark off, and never lets a restore do it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::ledger::Tombstones;

/// Annotation that `clusterctl move` puts on objects at the source before it deletes them.
pub const DELETE_FOR_MOVE_ANNOTATION: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";

/// Objects named in the mark.
const MOST_NAMED: usize = 4;

/// True for an object that `clusterctl move` has taken to another cluster.
pub fn is_moving(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(DELETE_FOR_MOVE_ANNOTATION))
}

/// What was seen in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Objects that are being moved away, as `Kind name`: Servers, bindings, and the machines that claim them.
    pub moving: BTreeSet<String>,
    /// Names of all Servers that exist, from a list that was complete; `None` when there is none.
    pub servers: Option<BTreeSet<String>>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Text of the mark.
    pub why: String,
    /// Names of the tombstones that are to be noted as [`crate::ledger::Fate::Vanished`] once the mark is written, so
    /// that they do not count again.
    pub vanished: Vec<String>,
}

/// Decides. A plane that is marked already is looked at all the same, so that what vanished meanwhile is noted.
pub fn fence(observed: &Observed, ledger: &Tombstones) -> Option<Fence> {
    let Observed { moving, servers } = observed;
    let vanished: Vec<String> = servers
        .as_ref()
        .map(|servers| ledger.vanished(servers).map(|entry| entry.server.clone()).collect())
        .unwrap_or_default();
    let mut why = Vec::new();
    if !moving.is_empty() {
        why.push(format!("clusterctl moves {} to another cluster", in_words(moving.iter())));
    }
    if !vanished.is_empty() {
        why.push(format!(
            "Servers of machines that clusters use are gone: {}; nobody released them",
            in_words(vanished.iter())
        ));
    }
    (!why.is_empty()).then(|| Fence { why: why.join("; "), vanished })
}

fn in_words<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let text = names.take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}
