//! What comes next for a control plane: one function of everything that is known of it.
//!
//! ```text
//! Hold ──▶ Create … ──▶ Bootstrap ──▶ (wait for nodes) ──▶ Steady
//!                                        │ outdated or too many: Create or Mark ──▶ Leave ──▶ Delete
//!                                        │ a member without a machine: RemoveMember
//! deleted: DeleteAll ──▶ (wait) ──▶ LetGo
//! ```
//!
//! Never takes a machine away while etcd or another machine is not healthy, and never the last one.

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::components;
use super::members::{Audit, Holder, audit, may_leave};
use super::outdated::is_replaced;
use super::seen::{SeenMachine, View};
use super::victim;
use crate::contract::Cluster;
use crate::infrastructure::verdict::Verdict;
use crate::plane::fence::is_moving;
use crate::talos_control_plane::{FINALIZER, TalosControlPlane};

/// Reason while machines are made.
pub const SCALING_UP: &str = "ScalingUp";
/// Reason while machines are taken away.
pub const SCALING_DOWN: &str = "ScalingDown";
/// Reason while machines are replaced.
pub const ROLLING_UPDATE: &str = "RollingUpdateInProgress";
/// Upstream's words where the last machine would have to go.
pub const NOT_TO_ZERO: &str = "Cannot scale down control plane nodes to 0";

/// What to do before anything is asked of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing at all: the object is being moved.
    HandsOff,
    /// Nothing but to say so.
    Paused,
    /// Add the finalizer.
    Hold,
    /// Nothing until there is a Cluster with infrastructure and an endpoint.
    WaitForCluster(String),
    /// Delete all machines, and let go once there is none.
    Delete,
    /// Look at the machines.
    Look,
}

/// The first decision.
pub fn first(control_plane: &TalosControlPlane, cluster: Option<&Cluster>, is_paused: bool) -> First {
    let meta = &control_plane.metadata;
    if is_moving(meta) || cluster.is_some_and(|cluster| is_moving(&cluster.metadata)) {
        return First::HandsOff;
    }
    if is_paused {
        return First::Paused;
    }
    let has_finalizer = meta.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if meta.deletion_timestamp.is_some() {
        return if has_finalizer { First::Delete } else { First::HandsOff };
    }
    let Some(cluster) = cluster else {
        return First::WaitForCluster("it has no Cluster".to_owned());
    };
    if !has_finalizer {
        return First::Hold;
    }
    if !cluster.has_infrastructure() {
        return First::WaitForCluster("the infrastructure of the Cluster is not ready".to_owned());
    }
    if cluster.endpoint().is_none() {
        return First::WaitForCluster("the Cluster has no control plane endpoint".to_owned());
    }
    First::Look
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a machine.
    Create,
    /// Have etcd made.
    Bootstrap,
    /// Take a member out of etcd whose machine is gone.
    RemoveMember {
        /// Its number.
        member: u64,
        /// The name that it shows.
        hostname: String,
        /// Name of the Machine that is asked.
        through: String,
    },
    /// Write down that this Machine leaves etcd, unless its node is still booting.
    Mark(String),
    /// Have the member of this Machine leave etcd, then delete the Machine.
    Leave(String),
    /// Delete this Machine, whose member has left.
    DeleteMachine(String),
    /// Nothing until something changes.
    Wait,
    /// Nothing: it is as it should be.
    Steady,
}

/// What to do, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// Whether the number of machines is right (condition `Resized`).
    pub resized: Verdict,
    /// Whether machines are as the spec wants them (condition `MachinesSpecUpToDate`).
    pub up_to_date: Verdict,
    /// What is said of members without a machine, if anything.
    pub audit: Option<String>,
}

/// Decides.
pub fn decide(view: &View<'_>) -> Decision {
    let replaced: Vec<_> = view
        .machines
        .iter()
        .filter(|seen| is_replaced(seen, view.control_plane))
        .map(SeenMachine::name)
        .collect();
    let up_to_date = if replaced.is_empty() {
        Verdict::holds("UpToDate")
    } else {
        let replicas = view.replicas();
        let message = format!("Rolling {replicas} replicas with {} outdated machines", replaced.len());
        Verdict::warns(ROLLING_UPDATE, message)
    };
    let holders: Vec<Holder> = view.machines.iter().map(Holder::of).collect();
    // Before etcd there are no members to look for.
    let found = if view.is_bootstrapped() { audit(&holders) } else { Audit::Settled };
    let (step, resized) = step(view, &holders, &found, !replaced.is_empty());
    let audit = match found {
        Audit::Postponed(why) => Some(why),
        Audit::Settled | Audit::Remove { .. } => None,
    };
    Decision { step, resized, up_to_date, audit }
}

fn step(view: &View<'_>, holders: &[Holder], found: &Audit, is_rolling: bool) -> (Step, Verdict) {
    let (count, replicas) = (view.machines.len(), view.replicas());
    // What was begun is ended first.
    if let Some(leaver) = view.machines.iter().find(|seen| seen.is_leaving() && !seen.is_deleting()) {
        return leave(view, holders, leaver);
    }
    if !view.is_bootstrapped() {
        return if count < replicas {
            (Step::Create, scaling_up(view))
        } else if count == 0 {
            (Step::Steady, Verdict::holds("Resized"))
        } else {
            // Nothing else would end: neither a rollout nor a removal passes an etcd that is not there.
            (Step::Bootstrap, Verdict::waits("WaitingForTalosBoot", "etcd is not made yet"))
        };
    }
    if let Audit::Remove { member, hostname, through } = found {
        let (member, hostname, through) = (*member, hostname.clone(), through.clone());
        let message = format!("member {member:x} of etcd ({hostname:?}) has no machine");
        return (Step::RemoveMember { member, hostname, through }, Verdict::warns(SCALING_DOWN, message));
    }
    let most = if is_rolling { replicas + max_surge(view.control_plane) } else { replicas };
    if count < most {
        (Step::Create, scaling_up(view))
    } else if count > replicas || is_rolling {
        take_away(view, holders)
    } else {
        (Step::Steady, Verdict::holds("Resized"))
    }
}

/// Has the member of a marked machine leave, and deletes the machine once that has no member.
fn leave(view: &View<'_>, holders: &[Holder], leaver: &SeenMachine) -> (Step, Verdict) {
    let name = leaver.name().to_owned();
    let message = scaling_down(view);
    match may_leave(holders, &name) {
        Ok(true) => (Step::Leave(name), Verdict::warns(SCALING_DOWN, message)),
        Ok(false) => (Step::DeleteMachine(name), Verdict::warns(SCALING_DOWN, message)),
        Err(why) => (Step::Wait, Verdict::warns(SCALING_DOWN, format!("{message}: {why}"))),
    }
}

/// One machine goes, once every gate is open.
fn take_away(view: &View<'_>, holders: &[Holder]) -> (Step, Verdict) {
    if view.machines.len() <= 1 {
        return (Step::Wait, Verdict::fails(SCALING_DOWN, NOT_TO_ZERO));
    }
    let message = scaling_down(view);
    let wait = |why: String| (Step::Wait, Verdict::warns(SCALING_DOWN, format!("{message}: {why}")));
    if let Some(seen) = view.machines.iter().find(|seen| seen.is_deleting()) {
        return wait(format!("Machine {} is being deleted", seen.name()));
    }
    let outdated = |seen: &SeenMachine| is_replaced(seen, view.control_plane);
    let Some(chosen) = victim::choose(view.machines, outdated) else {
        return wait("there is no machine".to_owned());
    };
    if let Some(seen) = view.machines.iter().find(|seen| seen.machine.node().is_none()) {
        return wait(format!("Machine {} has no node yet", seen.name()));
    }
    let health = components::etcd(view.machines);
    if health.severity.is_some() {
        return wait(health.message);
    }
    if let Err(why) = view.nodes {
        return wait(why.clone());
    }
    let staying = || view.machines.iter().filter(|seen| seen.name() != chosen.name());
    if let Some(seen) = staying().find(|seen| !view.node(seen).is_some_and(|node| node.is_ready)) {
        return wait(format!("the node of Machine {} is not ready", seen.name()));
    }
    match may_leave(holders, chosen.name()) {
        Ok(_) => (Step::Mark(chosen.name().to_owned()), Verdict::warns(SCALING_DOWN, message)),
        Err(why) => wait(why),
    }
}

fn scaling_up(view: &View<'_>) -> Verdict {
    let (replicas, count) = (view.replicas(), view.machines.len());
    Verdict::warns(SCALING_UP, format!("Scaling up control plane to {replicas} replicas (actual {count})"))
}

fn scaling_down(view: &View<'_>) -> String {
    let (replicas, count) = (view.replicas(), view.machines.len());
    format!("Scaling down control plane to {replicas} replicas (actual {count})")
}

/// Machines above the number that is wanted. With one machine none could ever go first: there one more is made.
pub fn max_surge(control_plane: &TalosControlPlane) -> usize {
    let rolling = control_plane.spec.rollout_strategy.as_ref().and_then(|one| one.rolling_update.as_ref());
    let surge = match rolling.and_then(|rolling| rolling.max_surge.as_ref()) {
        Some(IntOrString::Int(0)) => 0,
        Some(IntOrString::String(text)) if matches!(text.trim(), "0" | "0%") => 0,
        Some(IntOrString::Int(_) | IntOrString::String(_)) | None => 1,
    };
    let is_single = control_plane.spec.replicas.unwrap_or(1) <= 1;
    if is_single { 1 } else { surge }
}

/// Whether a reference is to a template, which the Cluster then owns.
pub fn is_template(reference: &ObjectReference) -> bool {
    reference.kind.as_deref().is_some_and(|kind| kind.ends_with("Template"))
}
