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

use crate::plane::Authority;
use crate::server::Server;

/// Annotation of a Server with the [`DiskRecord`] as JSON.
pub const DISKS_ANNOTATION: &str = "bloomery.dev/disks";
/// Annotation of a Server by which a person allows one wipe where nothing is on record. Its value names the Server's
/// `metadata.uid`, so that it means nothing on a copy, and after a restore more, so that one that was used up does not
/// count again: see [`wipe_confirmation`].
pub const CONFIRM_WIPE_ANNOTATION: &str = "bloomery.dev/confirm-wipe";
/// Annotation of a Server by which a person lets it be deleted although it is claimed or may be. Its value is the
/// Server's `metadata.uid`. The ledger goes on knowing the machine.
pub const FORGET_ANNOTATION: &str = "bloomery.dev/forget";

/// Annotation of a Server that would have been accepted when it registered, but was not known to a state that had been
/// restored: the mark of the Plane object at that time. For people; nothing is decided by it.
pub const UNKNOWN_AFTER_RESTORE_ANNOTATION: &str = "bloomery.dev/unknown-after-restore";

/// The epoch of a plane that nothing was restored to, or moved or handed over to.
const FIRST_EPOCH: i64 = 1;

/// The value by which a person confirms that the disks of this very object may be wiped, as it stands: `UID`;
/// `UID/EPOCH` once the epoch was raised; `UID/EPOCH/NUMBER` where the ledger knows a later record than the object has.
/// What a restore brings back was said of another time: a cluster may have had the machine since.
pub fn wipe_confirmation(server: &Server, authority: &Authority) -> String {
    let uid = server.meta().uid.as_deref().unwrap_or_default();
    let epoch = authority.epoch().unwrap_or(FIRST_EPOCH);
    match (epoch, record::later_number(server, authority)) {
        (FIRST_EPOCH, None) => uid.to_owned(),
        (epoch, None) => format!("{uid}/{epoch}"),
        (epoch, Some(number)) => format!("{uid}/{epoch}/{number}"),
    }
}

/// True when a person confirmed that the disks of this very object, as it stands, may be wiped.
pub fn wipe_confirmed(server: &Server, authority: &Authority) -> bool {
    let annotations = server.meta().annotations.as_ref();
    let named = annotations.and_then(|all| all.get(CONFIRM_WIPE_ANNOTATION));
    let has_uid = server.meta().uid.as_ref().is_some_and(|uid| !uid.is_empty());
    has_uid && authority.epoch().is_some() && named == Some(&wipe_confirmation(server, authority))
}

/// True when a person said that this very object may be deleted.
pub fn is_forgotten(server: &Server) -> bool {
    let annotations = server.meta().annotations.as_ref();
    let named = annotations.and_then(|all| all.get(FORGET_ANNOTATION));
    named.is_some_and(|uid| !uid.is_empty() && server.meta().uid.as_ref() == Some(uid))
}

#[cfg(test)]
mod tests;
