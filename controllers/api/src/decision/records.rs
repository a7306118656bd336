//! What is put on record about a machine's disks, and when its binding may go.
//!
//! A claim is recorded as soon as it is seen; its end only when the binding is deleted under our eyes, which the
//! binding's finalizer makes sure of, or when a person confirms.
//! Never records a release because a binding is not there, and never lets a binding go as released before the record
//! of that was read back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Machine, Standing};
use crate::evidence::{DiskRecord, DiskState, Entry, Evidence, VoidReason, wipe_confirmed};
use crate::plane::fence::is_moving;
use crate::plane::{Authority, label};
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
    /// The Server's new label [`crate::plane::PLANE_LABEL`], if it changes.
    pub label: Option<String>,
}

impl Records {
    /// Nothing to change.
    pub const NONE: Self = Self {
        record: RecordChange::Keep,
        remove_confirmation: false,
        finalizer: BindingFinalizer::Keep,
        label: None,
    };
}

/// Decides from objects that were read just now. `id` names a record that is written, `now` dates it.
pub fn records(machine: &Machine<'_>, now: &Time, id: &str) -> Records {
    let Machine { server, binding, authority, conflict: _ } = *machine;
    // Who may not act on a machine may not say either what became of it. What is being moved away is the target's.
    if !authority.acts() || is_moving(&server.metadata) || binding.is_some_and(|it| is_moving(&it.metadata)) {
        return Records::NONE;
    }
    let confirmed = wipe_confirmed(server, authority);
    let evidence = machine.evidence();
    let is_foreign = evidence == Evidence::Void(VoidReason::OtherPlane);
    let write = |entry: Entry<'_>| {
        DiskRecord::new(server, entry, authority, id, now).map_or(RecordChange::Keep, RecordChange::Write)
    };
    match binding {
        Some(binding) if is_foreign => Records { finalizer: foreign(binding), ..Records::NONE },
        Some(binding) => Records {
            // It would allow a wipe at once should this binding vanish some day.
            remove_confirmation: confirmed,
            label: own_label(server, authority, false),
            ..bound(machine, binding, &write)
        },
        None => {
            let record = free(server, confirmed, &evidence, &write);
            // Used up once the release is on record; without the plane's key it waits.
            let is_used = evidence.allows_release() || record != RecordChange::Keep;
            Records {
                record,
                remove_confirmation: confirmed && is_used,
                finalizer: BindingFinalizer::Keep,
                label: if is_foreign && !confirmed { None } else { own_label(server, authority, confirmed) },
            }
        }
    }
}

/// The label that a Server of this plane lacks. One of another plane is replaced when `confirmed`.
fn own_label(server: &Server, authority: &Authority, confirmed: bool) -> Option<String> {
    let trust = authority.trust()?;
    let own = trust.plane();
    let is_to_be_set = match label(server) {
        None => true,
        Some(plane) => plane != own && (confirmed || trust.is_own(plane)),
    };
    (is_to_be_set && !own.is_empty()).then(|| own.to_owned())
}

/// Nothing is recorded about a machine of another plane, and a binding of it that was deleted here may go.
fn foreign(binding: &ServerBinding) -> BindingFinalizer {
    let leaving = binding.metadata.deletion_timestamp.is_some();
    if leaving && has_finalizer(binding) { BindingFinalizer::Remove } else { BindingFinalizer::Keep }
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
    machine: &Machine<'_>,
    binding: &ServerBinding,
    write: &dyn Fn(Entry<'_>) -> RecordChange,
) -> Records {
    let Machine { server, authority, .. } = *machine;
    let record = DiskRecord::of(server).filter(|record| counts(record, server, authority));
    let ours = record.as_ref().is_some_and(|record| record.is_claim_of(binding));
    let state = record.map(|record| record.state);
    if binding.metadata.deletion_timestamp.is_none() {
        let finalizer = if has_finalizer(binding) { BindingFinalizer::Keep } else { BindingFinalizer::Add };
        let wanted = match machine.standing() {
            Standing::Installed => Entry::Installed(binding),
            _ => Entry::Bound(binding),
        };
        let record = if ours && state == Some(wanted.state()) { RecordChange::Keep } else { write(wanted) };
        return Records { record, finalizer, ..Records::NONE };
    }
    if !has_finalizer(binding) {
        // It is not ours to let go, and once it is gone nobody has seen how.
        return Records::NONE;
    }
    match state {
        Some(DiskState::Bound | DiskState::Installed) if ours => {
            Records { record: write(Entry::Released), ..Records::NONE }
        }
        Some(DiskState::NeverUsed | DiskState::Clean) => {
            Records { record: write(Entry::Released), ..Records::NONE }
        }
        // The release is on record and was read back. Or there is another claim, or none of this epoch: a restored
        // deletion says nothing of what happened since; the binding goes, and the machine counts as lost until a
        // person confirms.
        Some(DiskState::Released | DiskState::Bound | DiskState::Installed) | None => {
            Records { finalizer: BindingFinalizer::Remove, ..Records::NONE }
        }
    }
}

/// True for a record of this object and epoch that the plane signed. Without its key a plane writes claims unsigned.
fn counts(record: &DiskRecord, server: &Server, authority: &Authority) -> bool {
    let Authority::Holds { epoch, trust } = authority else { return false };
    let is_unsigned_claim = trust.key.is_none() && record.state.is_claim() && record.is_of(server, *epoch);
    is_unsigned_claim || record.is_ours(server, authority)
}

fn free(
    server: &Server,
    confirmed: bool,
    evidence: &Evidence,
    write: &dyn Fn(Entry<'_>) -> RecordChange,
) -> RecordChange {
    let was_clean = server.status.as_ref().is_some_and(|status| status.is_clean);
    match evidence {
        // Allowed already.
        Evidence::Released(_) => RecordChange::Keep,
        _ if confirmed => write(Entry::Released),
        // Clean until nobody looked after it any more: wiped again when it is accepted again.
        Evidence::Clean(_) if was_clean && !server.spec.accepted => write(Entry::Released),
        Evidence::None
        | Evidence::Void(_)
        | Evidence::NeverUsed(_)
        | Evidence::Unconsented(_)
        | Evidence::Clean(_)
        | Evidence::Bound
        | Evidence::Installed => RecordChange::Keep,
    }
}

fn has_finalizer(binding: &ServerBinding) -> bool {
    binding.metadata.finalizers.iter().flatten().any(|name| name == RELEASE_FINALIZER)
}

#[cfg(test)]
mod tests;
