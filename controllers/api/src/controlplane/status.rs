//! What is said of a control plane, by both contracts.

mod conditions;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outdated::{reasons, with_v};
use super::pass::Decision;
use super::seen::{SeenMachine, View};
use super::up_to_date::UP_TO_DATE;
use crate::contract::{CLUSTER_LABEL, CONTROL_PLANE_LABEL};
use crate::infrastructure::verdict::Verdict;
use crate::talos_control_plane::{StatusVersion, TalosControlPlane, TalosControlPlaneStatus};

pub use conditions::{deleting, paused, waiting};

/// Condition of Machines that Cluster API makes of their readiness and `minReadySeconds`.
const AVAILABLE: &str = "Available";
/// Most versions that a status lists.
const MOST_VERSIONS: usize = 100;

/// What became of a pass, for the status.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// What was decided.
    pub decision: &'a Decision,
    /// Whether etcd is healthy.
    pub etcd: Verdict,
    /// Whether the services of nodes are.
    pub components: Verdict,
    /// Whether machines could be made (condition `MachinesCreated`).
    pub created: Verdict,
    /// Whether etcd was made, or why not yet.
    pub bootstrapped: Verdict,
}

/// The status after a pass.
pub fn status(view: &View<'_>, outcome: &Outcome<'_>, now: &Time) -> TalosControlPlaneStatus {
    let mut status = counted(view.control_plane, view.cluster.metadata.name.as_deref(), view.machines);
    status.bootstrapped |= outcome.bootstrapped.severity.is_none();
    // Whoever answers before there is an etcd is not the cluster.
    if view.nodes.is_ok() && status.bootstrapped {
        let ready =
            view.machines.iter().filter(|seen| view.node(seen).is_some_and(|node| node.is_ready)).count();
        status.ready_replicas = number(ready);
        status.unavailable_replicas = status.replicas - status.ready_replicas;
        status.initialized = true;
        status.initialization.control_plane_initialized = Some(true);
    }
    status.ready = status.ready_replicas > 0;
    let available =
        |seen: &&SeenMachine| seen.machine.condition(AVAILABLE).is_some_and(|one| one.status == "True");
    status.available_replicas = Some(number(view.machines.iter().filter(available).count()));
    conditions::set(&mut status, view, outcome, now);
    status
}

/// What follows from the machines alone; the rest stays as it was said last.
pub fn counted(
    control_plane: &TalosControlPlane,
    cluster: Option<&str>,
    machines: &[SeenMachine],
) -> TalosControlPlaneStatus {
    let mut status = control_plane.status.clone().unwrap_or_default();
    if let Some(cluster) = cluster {
        status.selector = format!("{CLUSTER_LABEL}={cluster},{CONTROL_PLANE_LABEL}=");
    }
    status.replicas = number(machines.len());
    (status.ready, status.ready_replicas, status.unavailable_replicas) = (false, 0, status.replicas);
    status.available_replicas = Some(0);
    let up_to_date = machines.iter().filter(|seen| reasons(seen, control_plane).is_empty()).count();
    status.up_to_date_replicas = Some(number(up_to_date));
    status.updated_replicas = status.up_to_date_replicas;
    status.versions = versions(machines);
    status.version = status.versions.first().map(|one| one.version.clone()).unwrap_or_default();
    status.observed_generation = control_plane.metadata.generation.unwrap_or_default();
    status
}

/// The versions of machines, the lowest first, with the number of machines that have each.
fn versions(machines: &[SeenMachine]) -> Vec<StatusVersion> {
    let mut versions: Vec<StatusVersion> = Vec::new();
    for seen in machines.iter().filter(|seen| !seen.machine.spec.version.is_empty()) {
        let version = with_v(&seen.machine.spec.version);
        match versions.iter_mut().find(|one| one.version == version) {
            Some(one) => one.replicas = one.replicas.map(|count| count + 1),
            None => versions.push(StatusVersion { version, replicas: Some(1) }),
        }
    }
    versions.sort_by_key(|one| version_key(&one.version));
    versions.truncate(MOST_VERSIONS);
    versions
}

/// Numbers first, then what follows them: a pre-release comes before its release.
fn version_key(version: &str) -> (Vec<u64>, bool, String) {
    let version = version.trim_start_matches('v');
    let (numbers, rest) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let is_release = !version.contains('-');
    (numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect(), is_release, rest.to_owned())
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Whether all of the machines say of themselves that a condition is true, or which do not.
fn aggregate(machines: &[SeenMachine], type_: &str, reason: &str) -> Verdict {
    let not: Vec<String> = machines
        .iter()
        .filter_map(|seen| match seen.machine.condition(type_) {
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!("* Machine {}: {}", seen.name(), condition.reason)),
            None => Some(format!("* Machine {}: {type_} is not known yet", seen.name())),
        })
        .collect();
    if not.is_empty() {
        Verdict::holds(reason)
    } else {
        Verdict::waits(&format!("Not{reason}"), not.join("\n"))
    }
}

/// The same of [`UP_TO_DATE`], which this provider writes: what it is about to write counts.
fn all_up_to_date(view: &View<'_>) -> Verdict {
    let outdated: Vec<String> = view
        .machines
        .iter()
        .filter(|seen| !reasons(seen, view.control_plane).is_empty())
        .map(|seen| format!("* Machine {}: {}", seen.name(), reasons(seen, view.control_plane).join(", ")))
        .collect();
    if outdated.is_empty() {
        Verdict::holds(UP_TO_DATE)
    } else {
        Verdict::waits("NotUpToDate", outdated.join("\n"))
    }
}
