//! Whether etcd and the services of nodes are healthy.

use super::members::Holder;
use super::seen::{EtcdMember, SeenMachine};
use crate::infrastructure::verdict::Verdict;

/// Reason of a healthy etcd, and of healthy nodes.
const HEALTHY: &str = "Healthy";
/// Reason of an etcd that is not.
pub const ETCD_UNHEALTHY: &str = "EtcdClusterUnhealthy";
/// Reason of nodes that could not be asked.
pub const INSPECTION_FAILED: &str = "ControlPlaneComponentsInspectionFailed";
/// Reason of nodes with a sick service.
pub const COMPONENTS_UNHEALTHY: &str = "ControlPlaneComponentsUnhealthy";

/// Whether etcd is healthy on every machine that stays, and has these members and no other. Without machines it is.
pub fn etcd(machines: &[SeenMachine]) -> Verdict {
    match etcd_problem(machines) {
        None => Verdict::holds(HEALTHY),
        Some(problem) => Verdict::warns(ETCD_UNHEALTHY, problem),
    }
}

fn etcd_problem(machines: &[SeenMachine]) -> Option<String> {
    let staying: Vec<_> = machines.iter().filter(|seen| !seen.is_deleting() && !seen.is_leaving()).collect();
    for seen in &staying {
        let name = seen.name();
        if let Err(why) = &seen.talos.services {
            return Some(format!("Machine {name}: {why}"));
        }
        let Some(etcd) = seen.talos.etcd() else {
            return Some(format!("Machine {name}: has no service etcd"));
        };
        if !seen.talos.has_healthy_etcd() {
            let state = if etcd.state.is_empty() { "not started" } else { &etcd.state };
            let health = if etcd.healthy == Some(false) { ", unhealthy" } else { "" };
            return Some(format!("Machine {name}: etcd is {state}{health}"));
        }
    }
    let lists = staying.iter().map(|seen| seen.talos.members.as_ref().map_err(|why| (seen.name(), why)));
    let lists: Result<Vec<&Vec<EtcdMember>>, _> = lists.collect();
    let lists = match lists {
        Ok(lists) => lists,
        Err((name, why)) => return Some(format!("Machine {name}: {why}")),
    };
    let members = lists.first()?;
    if members.len() != staying.len() {
        return Some(format!("etcd has {} members, {} are expected", members.len(), staying.len()));
    }
    let holders: Vec<_> = staying.iter().map(|seen| Holder::of(seen)).collect();
    let is_known = |member: &&EtcdMember| holders.iter().any(|holder| holder.has(member));
    let foreign = members.iter().find(|member| member.is_learner || !is_known(member));
    if let Some(member) = foreign {
        return Some(format!(
            "member {:x} of etcd ({:?}) is of no machine, or joining",
            member.id, member.hostname
        ));
    }
    let is_other = |list: &&Vec<EtcdMember>| list.iter().any(|member| !members.contains(member));
    lists.iter().copied().find(is_other).map(|_| "the nodes do not agree on the members of etcd".to_owned())
}

/// Whether no service of any node is sick.
pub fn services(machines: &[SeenMachine]) -> Verdict {
    let mut sick = Vec::new();
    for seen in machines.iter().filter(|seen| !seen.is_deleting()) {
        match &seen.talos.services {
            Err(why) => {
                return Verdict::warns(INSPECTION_FAILED, format!("Machine {}: {why}", seen.name()));
            }
            Ok(services) => {
                let unhealthy = services.iter().filter(|service| service.healthy == Some(false));
                sick.extend(unhealthy.map(|service| {
                    let why = if service.message.is_empty() { "unhealthy" } else { &service.message };
                    format!("Machine {}: {}: {why}", seen.name(), service.id)
                }));
            }
        }
    }
    if sick.is_empty() {
        Verdict::holds(HEALTHY)
    } else {
        Verdict::warns(COMPONENTS_UNHEALTHY, sick.join("; "))
    }
}
