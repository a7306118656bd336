//! What the controllers write into a Server's status.
//!
//! Never calls a machine clean that is bound or not accepted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Standing, talos_installed};
use crate::condition::{self, Condition, Severity};
use crate::evidence::Evidence;
use crate::plane::Authority;
use crate::server::{FINALIZER, PXE_BOOTED, Power, Server, ServerStatus};
use crate::server_binding::ServerBinding;

/// Condition with the standing of the machine in words.
pub const READY: &str = "Ready";

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

/// Decides the status. `power` is the power state as just read, `now` the time of a condition that changes.
pub fn status(
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    power: Power,
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
    power.as_str().clone_into(&mut status.power);
    match binding {
        None => condition::remove(&mut status.conditions, PXE_BOOTED),
        Some(binding) if talos_installed(binding) => {
            condition::set(&mut status.conditions, Condition::holds(PXE_BOOTED, now.clone()));
        }
        Some(_) => {}
    }
    let mut seen = server.clone();
    seen.status = Some(status.clone());
    let standing = Standing::of(Some(&seen), binding, &evidence);
    status.ready = server.spec.accepted && is_usable(standing);
    condition::set(&mut status.conditions, ready_condition(standing, status.ready, now));
    StatusDecision {
        standing,
        finalizer: finalizer(server, binding.is_some()),
        clear_owners: binding.is_some()
            && server.metadata.owner_references.as_ref().is_some_and(|o| !o.is_empty()),
        released,
        status,
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

fn ready_condition(standing: Standing, ready: bool, now: &Time) -> Condition {
    if ready {
        let mut condition = Condition::holds(READY, now.clone());
        standing.reason().clone_into(&mut condition.reason);
        standing.message().clone_into(&mut condition.message);
        return condition;
    }
    if standing.is_claimed() {
        return Condition::fails(
            READY,
            Severity::Warning,
            "BoundButNotAccepted",
            "bound to a MetalMachine but spec.accepted is false; the machine is left alone",
            now.clone(),
        );
    }
    Condition::fails(READY, Severity::Info, standing.reason(), standing.message(), now.clone())
}

fn finalizer(server: &Server, bound: bool) -> FinalizerChange {
    let present = server.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let deleting = server.metadata.deletion_timestamp.is_some();
    match (deleting, present, bound) {
        (false, false, _) => FinalizerChange::Add,
        (true, true, false) => FinalizerChange::Remove,
        (false, true, _) | (true, true, true) | (true, false, _) => FinalizerChange::Keep,
    }
}

#[cfg(test)]
mod tests;
