//! The conditions of a control plane.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as StandardCondition, Time};

use super::{Outcome, aggregate, all_up_to_date, counted};
use crate::condition::{self, Condition, ConditionStatus, Severity};
use crate::contract::{PAUSED, READY};
use crate::controlplane::pass::{SCALING_DOWN, SCALING_UP};
use crate::controlplane::seen::{SeenMachine, View};
use crate::infrastructure::verdict::{NOT_PAUSED, Verdict, set_standard};
use crate::talos_control_plane::{TalosControlPlane, TalosControlPlaneStatus};

/// Types of contract v1beta1; [`READY`] sums these up, in this order.
const SUMMED: [&str; 5] = [MACHINES_CREATED, RESIZED, MACHINES_READY, AVAILABLE, MACHINES_BOOTSTRAPPED];
const MACHINES_CREATED: &str = "MachinesCreated";
const RESIZED: &str = "Resized";
const MACHINES_READY: &str = "MachinesReady";
const AVAILABLE: &str = "Available";
const MACHINES_BOOTSTRAPPED: &str = "MachinesBootstrapped";
const MACHINES_SPEC_UP_TO_DATE: &str = "MachinesSpecUpToDate";
const COMPONENTS_HEALTHY: &str = "ControlPlaneComponentsHealthy";
/// Upstream's type, as it stands.
const ETCD_HEALTHY: &str = "EtcdClusterHealthyCondition";
/// The same by contract v1beta2, where names have no such ending.
const ETCD_HEALTHY_NEW: &str = "EtcdClusterHealthy";
/// Reason while the API server of the cluster has not answered yet.
const WAITING_FOR_BOOT: &str = "WaitingForTalosBoot";

/// Conditions of both contracts, written one after the other.
struct Writer<'a> {
    old: &'a mut Vec<Condition>,
    new: &'a mut Vec<StandardCondition>,
    generation: Option<i64>,
    now: &'a Time,
}

impl Writer<'_> {
    fn both(&mut self, type_: &str, verdict: &Verdict) {
        verdict.set(type_, self.old, self.new, self.generation, self.now);
    }

    fn old(&mut self, type_: &str, verdict: &Verdict) {
        condition::set(self.old, verdict.old(type_, self.now));
    }

    fn newer(&mut self, type_: &str, verdict: &Verdict) {
        verdict.set_standard(type_, self.new, self.generation, self.now);
    }

    /// One that says with `True` that something is under way.
    fn under_way(&mut self, type_: &str, is_so: bool, message: &str) {
        let not = format!("Not{type_}");
        let (status, reason) =
            if is_so { (ConditionStatus::True, type_) } else { (ConditionStatus::False, not.as_str()) };
        let message = if is_so { message } else { "" };
        set_standard(self.new, type_, status, (reason, message), self.generation, self.now);
    }

    fn paused(&mut self, is_paused: bool) {
        let (status, reason) =
            if is_paused { (ConditionStatus::True, PAUSED) } else { (ConditionStatus::False, NOT_PAUSED) };
        set_standard(self.new, PAUSED, status, (reason, ""), self.generation, self.now);
    }

    /// The first of: an error, a warning, work in progress, what holds.
    fn sum_up(&mut self) {
        let rank = |severity: &str| match severity {
            found if found == Severity::Error.as_str() => 0,
            found if found == Severity::Warning.as_str() => 1,
            _ => 2,
        };
        let failed = SUMMED.iter().filter_map(|type_| condition::find(self.old, type_));
        let failed = failed.filter(|one| one.status == ConditionStatus::False);
        let worst = failed.min_by_key(|one| rank(&one.severity)).cloned();
        let sum = match worst {
            Some(worst) => {
                Condition { type_: READY.to_owned(), last_transition_time: self.now.clone(), ..worst }
            }
            None => Condition::holds(READY, self.now.clone()),
        };
        condition::set(self.old, sum);
    }

    /// In one order, so that a status that says the same is the same.
    fn sort(self) {
        self.old.sort_by(|one, other| one.type_.cmp(&other.type_));
        self.new.sort_by(|one, other| one.type_.cmp(&other.type_));
    }
}

fn writer<'a>(
    status: &'a mut TalosControlPlaneStatus,
    control_plane: &TalosControlPlane,
    now: &'a Time,
) -> Writer<'a> {
    let TalosControlPlaneStatus { conditions, v1beta2, .. } = status;
    Writer {
        old: conditions,
        new: &mut v1beta2.conditions,
        generation: control_plane.metadata.generation,
        now,
    }
}

/// After a pass.
pub(super) fn set(status: &mut TalosControlPlaneStatus, view: &View<'_>, outcome: &Outcome<'_>, now: &Time) {
    let Outcome { decision, etcd, components, created, bootstrapped } = outcome;
    let (is_initialized, control_plane) = (status.initialized, view.control_plane);
    let was_available = condition::find(&status.conditions, AVAILABLE)
        .is_some_and(|available| available.status == ConditionStatus::True);
    let was_rolling = condition::find(&status.conditions, MACHINES_SPEC_UP_TO_DATE).is_some();
    let (replicas, count) = (view.replicas(), view.machines.len());
    let mut to = writer(status, control_plane, now);

    let booted = if is_initialized {
        Verdict::holds("Initialized")
    } else {
        Verdict::waits(WAITING_FOR_BOOT, view.nodes.as_ref().err().cloned().unwrap_or_default())
    };
    // Upstream's is true for good once the API server answered.
    if is_initialized || !was_available {
        to.old(AVAILABLE, &booted);
    }
    to.newer("Initialized", &booted);
    to.newer(AVAILABLE, &available(view, outcome, is_initialized));
    let ready = aggregate(view.machines, READY, "Ready");
    to.both(MACHINES_READY, &ready);
    to.both(MACHINES_BOOTSTRAPPED, bootstrapped);
    to.both(MACHINES_CREATED, created);
    to.old(RESIZED, &decision.resized);
    if decision.up_to_date.severity.is_some() || was_rolling {
        to.old(MACHINES_SPEC_UP_TO_DATE, &decision.up_to_date);
    }
    to.newer("MachinesUpToDate", &all_up_to_date(view));
    to.both(COMPONENTS_HEALTHY, components);
    to.old(ETCD_HEALTHY, etcd);
    // What keeps a member without a machine in etcd is said where etcd is spoken of.
    let audited = match &decision.audit {
        Some(why) if etcd.severity.is_some() => {
            Verdict { message: format!("{}; no member is removed: {why}", etcd.message), ..etcd.clone() }
        }
        Some(_) | None => etcd.clone(),
    };
    to.newer(ETCD_HEALTHY_NEW, &audited);
    let Verdict { severity, reason, message } = &decision.resized;
    let resizing = |wanted: &str| severity.is_some() && reason == wanted;
    to.under_way("ScalingUp", count < replicas || resizing(SCALING_UP), message);
    to.under_way("ScalingDown", count > replicas || resizing(SCALING_DOWN), message);
    to.under_way("RollingOut", decision.up_to_date.severity.is_some(), &decision.up_to_date.message);
    to.under_way("Deleting", false, "");
    to.under_way("Remediating", false, "");
    to.paused(false);
    to.sum_up();
    to.sort();
}

/// Whether the cluster can be used: its API server answers, etcd has what it needs, and a node is ready.
fn available(view: &View<'_>, outcome: &Outcome<'_>, is_initialized: bool) -> Verdict {
    if !is_initialized {
        let why = view.nodes.as_ref().err().cloned().unwrap_or_default();
        return Verdict::waits(
            "NotAvailable",
            format!("the API server of the cluster has not answered yet: {why}"),
        );
    }
    if let Err(why) = view.nodes {
        return Verdict::warns(
            "NotAvailable",
            format!("the API server of the cluster does not answer: {why}"),
        );
    }
    let ready = view.machines.iter().filter(|seen| view.node(seen).is_some_and(|node| node.is_ready)).count();
    if ready == 0 {
        return Verdict::warns("NotAvailable", "no control plane node is ready");
    }
    let healthy = view.machines.iter().filter(|seen| seen.talos.has_healthy_etcd()).count();
    if healthy < view.machines.len() / 2 + 1 && outcome.etcd.severity.is_some() {
        return Verdict::warns("NotAvailable", format!("etcd has no quorum: {}", outcome.etcd.message));
    }
    Verdict::holds("Available")
}

/// The status of one that is paused: all stays, but for that.
pub fn paused(control_plane: &TalosControlPlane, now: &Time) -> TalosControlPlaneStatus {
    let mut status = control_plane.status.clone().unwrap_or_default();
    let mut to = writer(&mut status, control_plane, now);
    to.paused(true);
    to.sort();
    status
}

/// The status of one that waits for its Cluster.
pub fn waiting(
    control_plane: &TalosControlPlane,
    cluster: Option<&str>,
    machines: &[SeenMachine],
    why: &str,
    now: &Time,
) -> TalosControlPlaneStatus {
    let mut status = counted(control_plane, cluster, machines);
    let mut to = writer(&mut status, control_plane, now);
    let waits = Verdict::waits("WaitingForClusterInfrastructure", why);
    to.both(AVAILABLE, &waits);
    to.newer("Initialized", &waits);
    to.old(MACHINES_BOOTSTRAPPED, &Verdict::waits("WaitingForMachines", why));
    for type_ in ["ScalingUp", "ScalingDown", "RollingOut", "Deleting", "Remediating"] {
        to.under_way(type_, false, "");
    }
    to.newer(MACHINES_READY, &aggregate(machines, READY, "Ready"));
    to.newer("MachinesUpToDate", &Verdict::holds("UpToDate"));
    to.paused(false);
    to.sum_up();
    to.sort();
    status
}

/// The status of one that is being deleted.
pub fn deleting(
    control_plane: &TalosControlPlane,
    cluster: Option<&str>,
    machines: &[SeenMachine],
    now: &Time,
) -> TalosControlPlaneStatus {
    let mut status = counted(control_plane, cluster, machines);
    let message = format!("{} machines are left", machines.len());
    let mut to = writer(&mut status, control_plane, now);
    to.old(RESIZED, &Verdict::waits("Deleting", ""));
    to.under_way("Deleting", true, &message);
    to.under_way("ScalingDown", !machines.is_empty(), &message);
    to.newer(AVAILABLE, &Verdict::waits("Deleting", "the control plane is being deleted"));
    to.paused(false);
    to.sum_up();
    to.sort();
    status
}
