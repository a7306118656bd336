//! Whether a Server that nobody accepted may go because its machine never called again.
//!
//! Duty: bounds in time what strangers leave behind, as registration bounds it in number. The boot services note the day
//! of a machine's last call in [`LAST_CALL_ANNOTATION`]; the controllers ask [`abandoned`] and delete.
//! Never gives up a Server that may stand for a machine in use, or on which a person or another program wrote anything.
//! Never trusts the clock for more than the question: one that jumped makes every Server stale at once, so the caller
//! has to see it so for a while by a clock that cannot jump.

use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{Span, Timestamp};

use super::identity::RIVAL_ANNOTATION;
use super::{Machine, Standing};
use crate::evidence::{DISKS_ANNOTATION, Evidence};
use crate::plane::fence::is_moving;
use crate::plane::{PLANE_LABEL, label};
use crate::server::{ARCH_LABEL, FINALIZER, Server, ServerSpec};

/// Annotation of a Server that nobody accepted: the last day (RFC 3339 full-date, UTC) on which its machine asked the
/// boot services for anything. Without it the day of its creation counts.
pub const LAST_CALL_ANNOTATION: &str = "bloomery.dev/last-call";
/// Annotation by which a person keeps a Server that nobody accepted, however long its machine is silent. Its value does
/// not matter.
pub const KEEP_ANNOTATION: &str = "bloomery.dev/keep";
/// Whole days without a call after which a Server that nobody accepted may go: longer than a holiday, short enough that
/// a flood of made-up machines is gone within the month.
pub const STALE_AFTER_DAYS: i64 = 14;

/// Why a Server stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This plane may not act.
    NoAuthority,
    /// Nobody has looked yet at what came back from a restore: a cluster may use machines that the state does not know.
    Restored,
    /// A person or the plane accepted it.
    Accepted,
    /// It is going already, or is being moved.
    Leaving,
    /// A cluster has it, had it, or may have it.
    Claimed,
    /// Its record says more than "never used".
    Record,
    /// The ledger knows it, or cannot be read.
    Ledger,
    /// Another plane looks after it.
    OtherPlane,
    /// Somebody else than the plane wrote on it.
    Touched,
    /// The day of its last call cannot be told.
    Undated,
    /// Its machine called not long ago, or in the future.
    Recent,
}

/// The day of the last call of a Server that may go. `restored` is the mark of a restore as it was read with the
/// authority, `now` the time of day.
pub fn abandoned(machine: &Machine<'_>, restored: Option<&str>, now: Timestamp) -> Result<Date, Kept> {
    let Machine { server, binding: _, authority, conflict: _ } = *machine;
    let trust = authority.trust().ok_or(Kept::NoAuthority)?;
    if restored.is_some() {
        return Err(Kept::Restored);
    }
    if server.spec.accepted {
        return Err(Kept::Accepted);
    }
    if server.metadata.deletion_timestamp.is_some() || is_moving(&server.metadata) {
        return Err(Kept::Leaving);
    }
    if label(server).is_some_and(|plane| !trust.is_own(plane)) {
        return Err(Kept::OtherPlane);
    }
    match machine.standing() {
        Standing::Discovered | Standing::Conflicted => {}
        Standing::Unregistered
        | Standing::BoundWithoutServer
        | Standing::Bound
        | Standing::Installed
        | Standing::Lost
        | Standing::Unconfirmed
        | Standing::Dirty
        | Standing::Clean => return Err(Kept::Claimed),
    }
    match machine.evidence() {
        Evidence::None | Evidence::NeverUsed(_) | Evidence::Unconsented(_) => {}
        Evidence::Void(_)
        | Evidence::Released(_)
        | Evidence::Clean(_)
        | Evidence::Bound
        | Evidence::Installed => return Err(Kept::Record),
    }
    let name = server.metadata.name.as_deref().unwrap_or_default();
    if trust.ledger.as_deref().is_none_or(|ledger| ledger.of(name).is_some()) {
        return Err(Kept::Ledger);
    }
    if !is_the_planes_own_writing(server) {
        return Err(Kept::Touched);
    }
    let last = last_call(server).ok_or(Kept::Undated)?;
    let until = last.checked_add(Span::new().days(STALE_AFTER_DAYS)).map_err(|_| Kept::Undated)?;
    if until < today(now) { Ok(last) } else { Err(Kept::Recent) }
}

/// The annotation's new text when the machine of this Server calls; none if nothing is to be written. A day that is
/// ahead of the clock is put right: the clock was wrong then, or is now. An object that does not come from an API server
/// has no day to compare with.
pub fn call_to_note(server: &Server, now: Timestamp) -> Option<String> {
    let today = today(now);
    let created = created(server)?;
    let text = today.to_string();
    let is_noted = noted_call(server).map_or(created == today, |noted| noted == text);
    (!server.spec.accepted && server.metadata.deletion_timestamp.is_none() && !is_noted).then_some(text)
}

/// The later one of the day of the last call and that of the creation: a copy brings the annotation of its original.
fn last_call(server: &Server) -> Option<Date> {
    let created = created(server)?;
    match noted_call(server) {
        Some(noted) => Some(noted.parse::<Date>().ok()?.max(created)),
        None => Some(created),
    }
}

fn noted_call(server: &Server) -> Option<&str> {
    server.metadata.annotations.as_ref()?.get(LAST_CALL_ANNOTATION).map(String::as_str)
}

fn created(server: &Server) -> Option<Date> {
    server.metadata.creation_timestamp.as_ref().map(|created| today(created.0))
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// True when everything on the object is of the kind that boot services and controllers write on a machine that
/// nobody accepted.
fn is_the_planes_own_writing(server: &Server) -> bool {
    let meta = &server.metadata;
    let annotations = meta.annotations.iter().flatten();
    let labels = meta.labels.iter().flatten();
    let Server { metadata: _, spec, status: _ } = server;
    let ServerSpec { hardware, hostname, .. } = spec;
    let plain =
        ServerSpec { hardware: hardware.clone(), hostname: hostname.clone(), ..ServerSpec::default() };
    annotations
        .map(|(key, _)| key.as_str())
        .all(|key| [DISKS_ANNOTATION, LAST_CALL_ANNOTATION, RIVAL_ANNOTATION].contains(&key))
        && labels.map(|(key, _)| key.as_str()).all(|key| [PLANE_LABEL, ARCH_LABEL].contains(&key))
        && meta.finalizers.iter().flatten().all(|finalizer| finalizer == FINALIZER)
        && meta.owner_references.iter().flatten().next().is_none()
        && hardware.is_some()
        && *spec == plain
}

#[cfg(test)]
mod tests;
