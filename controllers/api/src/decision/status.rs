//! A Server's whole status. Whoever writes a part of it writes the whole: the controllers, and the boot services with
//! what an agent reports.
//!
//! Never calls a machine clean that is bound or not accepted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::controllers::SharedController;
use super::identity::{Conflict, IDENTITY_CONFLICT};
use super::{Machine, Standing, talos_installed};
use crate::condition::{self, Condition, ConditionStatus, Severity};
use crate::contents::{Contents, ContentsClass};
use crate::evidence::{
    CONFIRM_WIPE_ANNOTATION, Evidence, FORGET_ANNOTATION, UNKNOWN_AFTER_RESTORE_ANNOTATION, is_forgotten,
    wipe_confirmation,
};
use crate::exempt::ExemptDisks;
use crate::plane::Authority;
use crate::server::{DISKS_WIPED, FINALIZER, POWER_REACHABLE, PXE_BOOTED, Power, Server, ServerStatus};

/// Condition with the standing of the machine in words.
pub const READY: &str = "Ready";
/// Reason of [`POWER_REACHABLE`] when it does not hold.
pub const POWER_COMMAND_FAILED: &str = "PowerCommandFailed";

/// Condition: which disks the owner exempts from wiping, or why the annotation that names them is of no use.
pub const EXEMPT_DISKS: &str = "ExemptDisks";

/// What the finalizer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerChange {
    /// It is as it should be.
    Keep,
    /// The Server lives and lacks it.
    Add,
    /// The Server is being deleted and nobody has a claim on it.
    Remove,
}

/// How it went with the machine's power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerOutcome {
    /// Nobody controls it: it counts as on.
    Fake,
    /// It was not asked for: what the status says of it stays.
    OnRecord,
    /// It was read, and every command succeeded.
    Known(Power),
    /// It could not be read, or a command failed.
    Failed {
        /// The state, as far as it is known.
        power: Power,
        /// Reason of [`POWER_REACHABLE`]: [`POWER_COMMAND_FAILED`], or another that a person has to end.
        reason: &'static str,
        /// What failed, as in the event.
        why: String,
    },
}

impl PowerOutcome {
    /// What whoever cannot ask for the power says of it.
    pub const fn unasked(server: &Server) -> Self {
        let is_controlled = server.spec.bmc.is_some() || server.spec.management_api.is_some();
        if is_controlled { Self::OnRecord } else { Self::Fake }
    }

    /// The state to show; `None` to leave the one that is there.
    pub const fn power(&self) -> Option<Power> {
        match self {
            Self::Fake => Some(Power::On),
            Self::OnRecord => None,
            Self::Known(power) | Self::Failed { power, .. } => Some(*power),
        }
    }
}

/// What follows for a Server.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusDecision {
    /// Where the machine stands once the status is written.
    pub standing: Standing,
    /// The status to write.
    pub status: ServerStatus,
    /// What to do with the finalizer.
    pub finalizer: FinalizerChange,
    /// Whether owner references must go: an allocated Server belongs to nobody but its binding.
    pub clear_owners: bool,
    /// Whether the machine was in use and is no more.
    pub released: bool,
}

/// Decides the status. `shared` tells whether other Servers name the same management controller; `now` is the time of a
/// condition that changes.
pub fn status(
    machine: &Machine<'_>,
    shared: Option<&SharedController>,
    power: &PowerOutcome,
    now: &Time,
) -> StatusDecision {
    let Machine { server, binding, authority: _, conflict } = *machine;
    let mut status = server.status.clone().unwrap_or_default();
    let evidence = machine.evidence();
    // Only a recorded release ends a use: a binding that vanished does not.
    let released = binding.is_none() && status.in_use && matches!(evidence, Evidence::Released(_));
    status.in_use = binding.is_some() || (status.in_use && !released);
    status.is_clean = status.is_clean
        && server.spec.accepted
        && binding.is_none()
        && matches!(evidence, Evidence::Clean(_));
    if let Some(power) = power.power() {
        power.as_str().clone_into(&mut status.power);
    }
    match binding {
        // A lost claim keeps what is known of its node, for the day its binding comes back.
        None if status.in_use => {}
        None => condition::remove(&mut status.conditions, PXE_BOOTED),
        Some(binding) if talos_installed(binding) => {
            condition::set(&mut status.conditions, Condition::holds(PXE_BOOTED, now.clone()));
        }
        Some(_) => {}
    }
    if binding.is_some() {
        condition::remove(&mut status.conditions, DISKS_WIPED);
    }
    show_disks(&mut status, server, now);
    show_conflict(&mut status, server, conflict, now);
    let mut seen = server.clone();
    seen.status = Some(status.clone());
    let standing = Machine { server: &seen, ..*machine }.standing();
    let failure = set_power_reachable(&mut status, power, shared, now);
    // A machine that does not obey cannot be used either.
    status.ready = server.spec.accepted && is_usable(standing) && failure.is_none();
    let ready = ready_condition(machine, standing, &evidence, status.ready, failure.as_deref(), now);
    condition::set(&mut status.conditions, ready);
    // A person may let go of a Server, but not of one that a binding claims now.
    let is_let_go = is_forgotten(server) && binding.is_none();
    StatusDecision {
        standing,
        finalizer: finalizer(server, standing.is_claimed() && !is_let_go),
        clear_owners: binding.is_some()
            && server.metadata.owner_references.as_ref().is_some_and(|o| !o.is_empty()),
        released,
        status,
    }
}

/// What the disks held, and which of them the owner exempts.
fn show_disks(status: &mut ServerStatus, server: &Server, now: &Time) {
    let read = ExemptDisks::of(server);
    match &read {
        Ok(exempt) if exempt.disks().is_empty() => condition::remove(&mut status.conditions, EXEMPT_DISKS),
        Ok(exempt) => {
            let named = exempt.disks().iter().map(|disk| format!("{} (serial {})", disk.model, disk.serial));
            let mut condition = Condition::holds(EXEMPT_DISKS, now.clone());
            "OwnersWord".clone_into(&mut condition.reason);
            condition.message = format!(
                "never wiped, on the owner's responsibility: {}",
                named.collect::<Vec<_>>().join(", ")
            );
            condition::set(&mut status.conditions, condition);
        }
        Err(error) => {
            let source =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = format!("{error}{source}");
            let condition =
                Condition::fails(EXEMPT_DISKS, Severity::Warning, "Unreadable", message, now.clone());
            condition::set(&mut status.conditions, condition);
        }
    }
    let contents = Contents::of(server.spec.hardware.as_ref(), &read.unwrap_or_default());
    status.contents = if server.spec.hardware.is_some() { contents.summary() } else { String::new() };
}

fn show_conflict(status: &mut ServerStatus, server: &Server, conflict: Option<&Conflict>, now: &Time) {
    match conflict {
        Some(conflict) => {
            let name = server.metadata.name.as_deref().unwrap_or_default();
            condition::set(&mut status.conditions, conflict.condition(name, now));
        }
        None => condition::remove(&mut status.conditions, IDENTITY_CONFLICT),
    }
}

/// Writes whether the management controller obeys; returns why not.
fn set_power_reachable(
    status: &mut ServerStatus,
    power: &PowerOutcome,
    shared: Option<&SharedController>,
    now: &Time,
) -> Option<String> {
    let (reason, why) = match (shared, power) {
        (Some(shared), _) => (SharedController::REASON, shared.message()),
        (None, PowerOutcome::Fake) => {
            condition::remove(&mut status.conditions, POWER_REACHABLE);
            return None;
        }
        (None, PowerOutcome::OnRecord) => {
            let known = condition::find(&status.conditions, POWER_REACHABLE);
            return match known {
                Some(known) if known.status == ConditionStatus::True => None,
                Some(known) => Some(known.message.clone()),
                None => Some("its power state was not read yet".to_owned()),
            };
        }
        (None, PowerOutcome::Known(_)) => {
            condition::set(&mut status.conditions, Condition::holds(POWER_REACHABLE, now.clone()));
            return None;
        }
        (None, PowerOutcome::Failed { power: _, reason, why }) => (*reason, why.clone()),
    };
    let condition = Condition::fails(POWER_REACHABLE, Severity::Warning, reason, why.clone(), now.clone());
    condition::set(&mut status.conditions, condition);
    Some(why)
}

/// True when a cluster uses the machine or could.
const fn is_usable(standing: Standing) -> bool {
    match standing {
        Standing::Bound | Standing::Installed | Standing::Clean => true,
        Standing::Unregistered
        | Standing::BoundWithoutServer
        | Standing::Lost
        | Standing::Unconfirmed
        | Standing::Discovered
        | Standing::Conflicted
        | Standing::Dirty => false,
    }
}

fn ready_condition(
    machine: &Machine<'_>,
    standing: Standing,
    evidence: &Evidence,
    ready: bool,
    failure: Option<&str>,
    now: &Time,
) -> Condition {
    let Machine { server, authority, .. } = *machine;
    if ready {
        let mut condition = Condition::holds(READY, now.clone());
        standing.reason().clone_into(&mut condition.reason);
        standing.message().clone_into(&mut condition.message);
        return condition;
    }
    let fails = |severity, reason: &str, message: String| {
        Condition::fails(READY, severity, reason, message, now.clone())
    };
    match standing {
        Standing::Lost | Standing::Unconfirmed => {
            let message = format!(
                "{}{}: {}",
                standing.message(),
                why_unconfirmed(evidence),
                how_to_go_on(server, authority)
            );
            fails(Severity::Warning, standing.reason(), message)
        }
        Standing::Conflicted => fails(Severity::Warning, standing.reason(), standing.message().to_owned()),
        Standing::Bound | Standing::Installed if !server.spec.accepted => fails(
            Severity::Warning,
            "BoundButNotAccepted",
            "bound to a MetalMachine but spec.accepted is false; the machine is left alone".to_owned(),
        ),
        Standing::Bound | Standing::Installed | Standing::Clean => {
            let why = failure.unwrap_or_default();
            fails(Severity::Warning, POWER_COMMAND_FAILED, format!("{}; {why}", standing.message()))
        }
        Standing::Discovered if let Some(since) = unknown_after_restore(server) => fails(
            Severity::Warning,
            standing.reason(),
            format!(
                "not known to the restored state ({since}): a cluster may use this machine; look at it, then set \
                 spec.accepted to true, which wipes its disks"
            ),
        ),
        Standing::Unregistered | Standing::BoundWithoutServer | Standing::Discovered | Standing::Dirty => {
            fails(Severity::Info, standing.reason(), standing.message().to_owned())
        }
    }
}

/// The mark of the restore before which the machine may have been known.
fn unknown_after_restore(server: &Server) -> Option<&str> {
    server.metadata.annotations.as_ref()?.get(UNKNOWN_AFTER_RESTORE_ANNOTATION).map(String::as_str)
}

/// Why nothing on record counts, in brackets.
fn why_unconfirmed(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Void(why) => format!(" ({})", why.message()),
        Evidence::Unconsented(ContentsClass::System) => {
            " (its disks hold a Talos installation or state of Kubernetes)".to_owned()
        }
        Evidence::Unconsented(ContentsClass::Unknown) => " (nobody can tell what its disks hold)".to_owned(),
        Evidence::Unconsented(_) => " (its disks hold more than when it registered)".to_owned(),
        Evidence::None
        | Evidence::NeverUsed(_)
        | Evidence::Released(_)
        | Evidence::Clean(_)
        | Evidence::Bound
        | Evidence::Installed => String::new(),
    }
}

/// The command by which a person allows one wipe of this very machine, or its deletion where that is wanted.
fn how_to_go_on(server: &Server, authority: &Authority) -> String {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let (annotation, value) = if server.metadata.deletion_timestamp.is_some() {
        (FORGET_ANNOTATION, server.metadata.uid.clone().unwrap_or_default())
    } else {
        (CONFIRM_WIPE_ANNOTATION, wipe_confirmation(server, authority))
    };
    format!("kubectl annotate --overwrite server {name} {annotation}={value}")
}

fn finalizer(server: &Server, claimed: bool) -> FinalizerChange {
    let present = server.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let deleting = server.metadata.deletion_timestamp.is_some();
    match (deleting, present, claimed) {
        (false, false, _) => FinalizerChange::Add,
        (true, true, false) => FinalizerChange::Remove,
        (false, true, _) | (true, true, true) | (true, false, _) => FinalizerChange::Keep,
    }
}

#[cfg(test)]
mod tests;
