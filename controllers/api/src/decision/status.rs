//! What the controllers write into a Server's status.
//!
//! Never calls a machine clean that is bound or not accepted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Standing, talos_installed};
use crate::condition::{self, Condition, Severity};
use crate::evidence::{CONFIRM_WIPE_ANNOTATION, Evidence, UNKNOWN_AFTER_RESTORE_ANNOTATION};
use crate::plane::Authority;
use crate::server::{DISKS_WIPED, FINALIZER, POWER_REACHABLE, PXE_BOOTED, Power, Server, ServerStatus};
use crate::server_binding::ServerBinding;

/// Condition with the standing of the machine in words.
pub const READY: &str = "Ready";
/// Reason of [`POWER_REACHABLE`] when it does not hold.
const POWER_COMMAND_FAILED: &str = "PowerCommandFailed";

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
    /// It was read, and every command succeeded.
    Known(Power),
    /// It could not be read, or a command failed.
    Failed {
        /// The state, as far as it is known.
        power: Power,
        /// What failed, as in the event.
        why: String,
    },
}

impl PowerOutcome {
    /// The state to show.
    pub const fn power(&self) -> Power {
        match self {
            Self::Fake => Power::On,
            Self::Known(power) | Self::Failed { power, .. } => *power,
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

/// Decides the status. `now` is the time of a condition that changes.
pub fn status(
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    power: &PowerOutcome,
    now: &Time,
) -> StatusDecision {
    let mut status = server.status.clone().unwrap_or_default();
    let evidence = Evidence::of(server, authority);
    // Only a recorded release ends a use: a binding that vanished does not.
    let released = binding.is_none() && status.in_use && matches!(evidence, Evidence::Released(_));
    status.in_use = binding.is_some() || (status.in_use && !released);
    status.is_clean = status.is_clean
        && server.spec.accepted
        && binding.is_none()
        && matches!(evidence, Evidence::Clean(_));
    power.power().as_str().clone_into(&mut status.power);
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
    let mut seen = server.clone();
    seen.status = Some(status.clone());
    let standing = Standing::of(Some(&seen), binding, &evidence);
    let failure = set_power_reachable(&mut status, power, now);
    // A machine that does not obey cannot be used either.
    status.ready = server.spec.accepted && is_usable(standing) && failure.is_none();
    let ready = ready_condition(server, standing, status.ready, failure, now);
    condition::set(&mut status.conditions, ready);
    StatusDecision {
        standing,
        finalizer: finalizer(server, binding.is_some() || standing == Standing::Lost),
        clear_owners: binding.is_some()
            && server.metadata.owner_references.as_ref().is_some_and(|o| !o.is_empty()),
        released,
        status,
    }
}

/// Writes whether the management controller obeys; returns why not.
fn set_power_reachable<'a>(
    status: &mut ServerStatus,
    power: &'a PowerOutcome,
    now: &Time,
) -> Option<&'a str> {
    match power {
        PowerOutcome::Fake => {
            condition::remove(&mut status.conditions, POWER_REACHABLE);
            None
        }
        PowerOutcome::Known(_) => {
            condition::set(&mut status.conditions, Condition::holds(POWER_REACHABLE, now.clone()));
            None
        }
        PowerOutcome::Failed { power: _, why } => {
            let condition = Condition::fails(
                POWER_REACHABLE,
                Severity::Warning,
                POWER_COMMAND_FAILED,
                why.clone(),
                now.clone(),
            );
            condition::set(&mut status.conditions, condition);
            Some(why)
        }
    }
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
        | Standing::Dirty => false,
    }
}

fn ready_condition(
    server: &Server,
    standing: Standing,
    ready: bool,
    failure: Option<&str>,
    now: &Time,
) -> Condition {
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
            let message = format!("{}: {}", standing.message(), how_to_confirm(server));
            fails(Severity::Warning, standing.reason(), message)
        }
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

/// The command by which a person allows one wipe of this very machine.
fn how_to_confirm(server: &Server) -> String {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let uid = server.metadata.uid.as_deref().unwrap_or_default();
    format!("kubectl annotate server {name} {CONFIRM_WIPE_ANNOTATION}={uid}")
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
