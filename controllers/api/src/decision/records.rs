//! What is put on record about a machine's disks, and when its binding may go.
//!
//! A claim is recorded as soon as it is seen; its end only when the binding is deleted under our eyes, which the
//! binding's finalizer makes sure of, or when a person confirms.
//! Never records a release because a binding is not there, and never lets a binding go as released before the record
//! of that was read back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::evidence::{DiskRecord, DiskState, Evidence, wipe_confirmed};
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::{RELEASE_FINALIZER, ServerBinding};

/// What to do with the record.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordChange {
    /// It is as it should be.
    Keep,
    /// Write this one.
    Write(DiskRecord),
}

/// What to do with the binding's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingFinalizer {
    /// It is as it should be, or there is no binding.
    Keep,
    /// The binding lives and lacks it. To be added after the record was written.
    Add,
    /// The binding may go.
    Remove,
}

/// What to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// The record on the Server.
    pub record: RecordChange,
    /// Whether a person's confirmation is used up, or void because a binding came.
    pub remove_confirmation: bool,
    /// The binding's finalizer.
    pub finalizer: BindingFinalizer,
}

impl Records {
    /// Nothing to change.
    pub const NONE: Self =
        Self { record: RecordChange::Keep, remove_confirmation: false, finalizer: BindingFinalizer::Keep };
}

/// Decides from objects that were read just now. `id` names a record that is written, `now` dates it.
pub fn records(
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    now: &Time,
    id: &str,
) -> Records {
    // Who may not act on a machine may not say either what became of it.
    let Some(epoch) = authority.epoch() else { return Records::NONE };
    let confirmed = wipe_confirmed(server);
    let write = |state| RecordChange::Write(DiskRecord::new(server, state, epoch, id, now));
    match binding {
        Some(binding) => Records {
            // It would allow a wipe at once should this binding vanish some day.
            remove_confirmation: confirmed,
            ..bound(server, binding, epoch, &write)
        },
        None => Records {
            record: free(server, confirmed, &Evidence::of(server, authority), &write),
            remove_confirmation: confirmed,
            finalizer: BindingFinalizer::Keep,
        },
    }
}

/// What to do with the finalizer of a binding whose Server does not exist: there is nothing to put on record.
pub fn binding_without_server(binding: &ServerBinding, authority: &Authority) -> BindingFinalizer {
    let deleting = binding.metadata.deletion_timestamp.is_some();
    if authority.acts() && deleting && has_finalizer(binding) {
        BindingFinalizer::Remove
    } else {
        BindingFinalizer::Keep
    }
}

fn bound(
    server: &Server,
    binding: &ServerBinding,
    epoch: i64,
    write: &dyn Fn(DiskState) -> RecordChange,
) -> Records {
    let record = DiskRecord::of(server);
    let current = record.as_ref().filter(|record| record.is_of(server, epoch));
    let uid = binding.metadata.uid.clone().filter(|uid| !uid.is_empty());
    let state = current.map(|record| record.state);
    let ours =
        state == Some(DiskState::Bound) && uid.is_some() && current.and_then(|r| r.binding.clone()) == uid;
    if binding.metadata.deletion_timestamp.is_none() {
        let finalizer = if has_finalizer(binding) { BindingFinalizer::Keep } else { BindingFinalizer::Add };
        let record = match write(DiskState::Bound) {
            RecordChange::Write(new) if !ours => RecordChange::Write(DiskRecord { binding: uid, ..new }),
            RecordChange::Write(_) | RecordChange::Keep => RecordChange::Keep,
        };
        return Records { record, finalizer, ..Records::NONE };
    }
    if !has_finalizer(binding) {
        // It is not ours to let go, and once it is gone nobody has seen how.
        return Records::NONE;
    }
    match state {
        Some(DiskState::Bound) if ours => Records { record: write(DiskState::Released), ..Records::NONE },
        Some(DiskState::NeverUsed | DiskState::Clean) => {
            Records { record: write(DiskState::Released), ..Records::NONE }
        }
        // The release is on record and was read back. Or there is another claim, or none of this epoch: a restored
        // deletion says nothing of what happened since; the binding goes, and the machine counts as lost until a
        // person confirms.
        Some(DiskState::Released | DiskState::Bound) | None => {
            Records { finalizer: BindingFinalizer::Remove, ..Records::NONE }
        }
    }
}

fn free(
    server: &Server,
    confirmed: bool,
    evidence: &Evidence,
    write: &dyn Fn(DiskState) -> RecordChange,
) -> RecordChange {
    let was_clean = server.status.as_ref().is_some_and(|status| status.is_clean);
    match evidence {
        // Allowed already.
        Evidence::Released(_) => RecordChange::Keep,
        _ if confirmed => write(DiskState::Released),
        // Clean until nobody looked after it any more: wiped again when it is accepted again.
        Evidence::Clean(_) if was_clean && !server.spec.accepted => write(DiskState::Released),
        Evidence::None
        | Evidence::Void(_)
        | Evidence::NeverUsed(_)
        | Evidence::Clean(_)
        | Evidence::Bound => RecordChange::Keep,
    }
}

fn has_finalizer(binding: &ServerBinding) -> bool {
    binding.metadata.finalizers.iter().flatten().any(|name| name == RELEASE_FINALIZER)
}

#[cfg(test)]
mod tests;
