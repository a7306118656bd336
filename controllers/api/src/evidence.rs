//! What is on record about a machine's disks: the positive, persisted evidence that wiping needs (promise S2).
//!
//! Duty: the record in the annotation [`DISKS_ANNOTATION`], how it is written, and whether it counts for this very
//! object and plane.
//! Never takes a record of another object (uid), of another plane (label, key), of another time (epoch, number) or one
//! that cannot be read as leave to write: what a restore, a move, a copy or an edit brings along is no evidence,
//! except that a claim is always believed.

mod judge;
mod record;

pub use judge::{Evidence, RecordId, VoidReason};
pub use record::{DiskRecord, DiskState, Entry};

use kube::Resource;

use crate::server::Server;

/// Annotation of a Server with the [`DiskRecord`] as JSON.
pub const DISKS_ANNOTATION: &str = "bloomery.dev/disks";
/// Annotation of a Server by which a person allows one wipe where nothing is on record. Its value is the Server's
/// `metadata.uid`, so that it means nothing on a copy.
pub const CONFIRM_WIPE_ANNOTATION: &str = "bloomery.dev/confirm-wipe";
/// Annotation of a Server by which a person lets it be deleted although it is claimed or may be. Its value is the
/// Server's `metadata.uid`. The ledger goes on knowing the machine.
pub const FORGET_ANNOTATION: &str = "bloomery.dev/forget";

/// Annotation of a Server that would have been accepted when it registered, but was not known to a state that had been
/// restored: the mark of the Plane object at that time. For people; nothing is decided by it.
pub const UNKNOWN_AFTER_RESTORE_ANNOTATION: &str = "bloomery.dev/unknown-after-restore";

/// True when a person confirmed that the disks of this very object may be wiped.
pub fn wipe_confirmed(server: &Server) -> bool {
    names_itself(server, CONFIRM_WIPE_ANNOTATION)
}

/// True when a person said that this very object may be deleted.
pub fn is_forgotten(server: &Server) -> bool {
    names_itself(server, FORGET_ANNOTATION)
}

fn names_itself(server: &Server, annotation: &str) -> bool {
    let annotations = server.meta().annotations.as_ref();
    let named = annotations.and_then(|all| all.get(annotation));
    named.is_some_and(|uid| !uid.is_empty() && server.meta().uid.as_ref() == Some(uid))
}

#[cfg(test)]
mod tests;
