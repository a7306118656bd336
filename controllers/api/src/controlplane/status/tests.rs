use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::condition::{self, ConditionStatus};
use crate::contract::Cluster;
use crate::controlplane::components;
use crate::controlplane::pass::decide;
use crate::controlplane::seen::{EtcdMember, NodeService, SeenNode, Talos};

fn at(second: u8) -> Time {
    serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
}

fn control_plane() -> TalosControlPlane {
    serde_json::from_value(json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha3", "kind": "TalosControlPlane",
        "metadata": { "name": "cp", "generation": 3 },
        "spec": { "replicas": 1, "version": "v1.36.0", "infrastructureTemplate": { "kind": "T", "name": "t" },
            "controlPlaneConfig": { "controlplane": { "generateType": "controlplane" } } },
    }))
    .unwrap()
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "c" }, "spec": {} }))
    .unwrap()
}

fn machine(name: &str, version: &str) -> SeenMachine {
    let condition = |type_: &str| json!({ "type": type_, "status": "True", "reason": type_, "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let conditions = ["Ready", "Available"].map(condition);
    let machine =
        serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": name }, "spec": { "version": version },
        "status": { "nodeRef": { "name": name }, "conditions": conditions } }));
    let etcd = NodeService {
        id: "etcd".to_owned(),
        state: "Running".to_owned(),
        healthy: Some(true),
        message: String::new(),
    };
    let member = EtcdMember { id: 1, hostname: name.to_owned(), is_learner: false };
    let talos = Talos { services: Ok(vec![etcd]), members: Ok(vec![member]), own_member: Some(1) };
    SeenMachine { machine: machine.unwrap(), origin: None, config: None, talos }
}

fn said(
    control_plane: &TalosControlPlane,
    machines: &[SeenMachine],
    nodes: &Result<BTreeMap<String, SeenNode>, String>,
    bootstrapped: Verdict,
    now: &Time,
) -> TalosControlPlaneStatus {
    let cluster = cluster();
    let view = View { control_plane, cluster: &cluster, machines, nodes };
    let decision = decide(&view);
    let outcome = Outcome {
        decision: &decision,
        etcd: components::etcd(machines),
        components: components::services(machines),
        created: Verdict::holds("Created"),
        bootstrapped,
    };
    status(&view, &outcome, now)
}

fn new_status(status: &TalosControlPlaneStatus, type_: &str) -> String {
    let found = status.v1beta2.conditions.iter().find(|one| one.type_ == type_);
    found.map(|one| one.status.clone()).unwrap_or_default()
}

#[test]
fn a_healthy_control_plane_says_so_by_both_contracts_and_at_rest_nothing_changes() {
    let mut made = control_plane();
    let machines = [machine("a", "v1.36.0")];
    let nodes = Ok([("a".to_owned(), SeenNode { is_ready: true })].into());
    let first = said(&made, &machines, &nodes, Verdict::holds("Bootstrapped"), &at(1));
    made.status = Some(first);
    let status = said(&made, &machines, &nodes, Verdict::holds("Bootstrapped"), &at(2));
    made.status = Some(status.clone());
    assert_eq!(said(&made, &machines, &nodes, Verdict::holds("Bootstrapped"), &at(9)), status, "at rest");
    let value = serde_json::to_value(&status).unwrap();
    for (field, expected) in [
        ("replicas", json!(1)),
        ("readyReplicas", json!(1)),
        ("availableReplicas", json!(1)),
        ("upToDateReplicas", json!(1)),
        ("updatedReplicas", json!(1)),
        ("initialized", json!(true)),
        ("ready", json!(true)),
        ("bootstrapped", json!(true)),
        ("observedGeneration", json!(3)),
        ("version", json!("v1.36.0")),
        ("versions", json!([{ "version": "v1.36.0", "replicas": 1 }])),
        ("initialization", json!({ "controlPlaneInitialized": true })),
        ("selector", json!("cluster.x-k8s.io/cluster-name=c,cluster.x-k8s.io/control-plane=")),
    ] {
        assert_eq!(value[field], expected, "{field}");
    }
    for old in [
        "Ready",
        "Available",
        "MachinesCreated",
        "Resized",
        "MachinesReady",
        "MachinesBootstrapped",
        "ControlPlaneComponentsHealthy",
        "EtcdClusterHealthyCondition",
    ] {
        let found = condition::find(&status.conditions, old).unwrap_or_else(|| panic!("no {old}"));
        assert_eq!(found.status, ConditionStatus::True, "{found:?}");
    }
    for (new, expected) in [
        ("Available", "True"),
        ("Initialized", "True"),
        ("EtcdClusterHealthy", "True"),
        ("ControlPlaneComponentsHealthy", "True"),
        ("MachinesReady", "True"),
        ("MachinesUpToDate", "True"),
        ("RollingOut", "False"),
        ("ScalingUp", "False"),
        ("ScalingDown", "False"),
        ("Deleting", "False"),
        ("Remediating", "False"),
        ("Paused", "False"),
    ] {
        assert_eq!(new_status(&status, new), expected, "{new}");
    }
    let reasons = status.v1beta2.conditions.iter();
    assert!(reasons.clone().all(|one| !one.reason.is_empty()), "{:?}", status.v1beta2.conditions);
    assert!(reasons.clone().all(|one| one.status != "Unknown"));
}

#[test]
fn what_it_waits_for_is_said_and_an_answer_before_etcd_is_not_the_clusters() {
    let mut made = control_plane();
    let machines = [machine("a", "v1.36.0")];
    let nodes = Ok([("a".to_owned(), SeenNode { is_ready: true })].into());
    let waits = Verdict::waits("WaitingForTalosBoot", "Machine a: off");
    let status = said(&made, &machines, &nodes, waits.clone(), &at(1));
    assert!(!status.initialized && !status.bootstrapped && !status.ready);
    assert_eq!(new_status(&status, "Available"), "False");
    let booted = condition::find(&status.conditions, "MachinesBootstrapped").unwrap();
    assert_eq!((booted.reason.as_str(), booted.severity.as_str()), ("WaitingForTalosBoot", "Info"));
    assert_eq!(booted.message, "Machine a: off");
    // Once it answered it is initialized for good, and the newer contract says that it does not answer now.
    made.status = Some(said(&made, &machines, &nodes, Verdict::holds("Bootstrapped"), &at(2)));
    let silent = said(&made, &machines, &Err("no answer".to_owned()), Verdict::holds("Bootstrapped"), &at(3));
    assert!(silent.initialized && !silent.ready);
    assert_eq!((silent.ready_replicas, silent.unavailable_replicas), (0, 1));
    assert_eq!(condition::find(&silent.conditions, "Available").unwrap().status, ConditionStatus::True);
    assert_eq!(new_status(&silent, "Available"), "False");
}

#[test]
fn versions_are_counted_the_lowest_first() {
    let machines = [
        machine("a", "v1.36.10"),
        machine("b", "v1.36.9"),
        machine("c", "v1.36.10"),
        machine("d", "v1.36.9-rc.1"),
        machine("e", ""),
    ];
    let found = versions(&machines).into_iter().map(|one| (one.version, one.replicas.unwrap()));
    let expected = [("v1.36.9-rc.1", 1), ("v1.36.9", 1), ("v1.36.10", 2)];
    assert_eq!(found.collect::<Vec<_>>(), expected.map(|(version, count)| (version.to_owned(), count)));
}

#[test]
fn a_paused_one_keeps_what_was_said() {
    let mut made = control_plane();
    let machines = [machine("a", "v1.36.0")];
    made.status = Some(said(&made, &machines, &Err("x".to_owned()), Verdict::holds("Bootstrapped"), &at(1)));
    let status = paused(&made, &at(2));
    assert_eq!(new_status(&status, "Paused"), "True");
    assert_eq!(status.conditions, made.status.as_ref().unwrap().conditions);
    made.status = Some(status.clone());
    assert_eq!(paused(&made, &at(3)), status);
    let status = deleting(&made, Some("c"), &machines, &at(4));
    assert_eq!((status.ready, status.replicas, status.unavailable_replicas), (false, 1, 1));
    let resized = condition::find(&status.conditions, "Resized").unwrap();
    assert_eq!((resized.reason.as_str(), resized.severity.as_str()), ("Deleting", "Info"));
}
