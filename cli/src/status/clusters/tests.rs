#![allow(clippy::needless_pass_by_value, reason = "objects are written where they are used")]
use std::time::SystemTime;

use serde_json::json;

use super::text::cluster_tables;
use super::*;

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-30T10:00:00Z").unwrap()
}

fn object(kind: &str, name: &str, rest: Value) -> DynamicObject {
    let meta = json!({ "name": name, "namespace": "default", "creationTimestamp": "2026-11-30T09:00:00Z" });
    let mut whole = json!({ "apiVersion": "x/v1", "kind": kind, "metadata": meta });
    for (field, value) in rest.as_object().unwrap() {
        match whole.get_mut(field) {
            Some(known) => known.as_object_mut().unwrap().extend(value.as_object().unwrap().clone()),
            None => whole[field] = value.clone(),
        }
    }
    serde_json::from_value(whole).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-30T09:00:00Z" })
}

fn bad(type_: &str, severity: &str, reason: &str, message: &str) -> Value {
    let mut condition = condition(type_, "False", reason, message);
    condition["severity"] = json!(severity);
    condition
}

/// A Machine of the cluster `lab` with its configuration made.
fn machine(name: &str, status: Value) -> DynamicObject {
    let spec = json!({ "clusterName": "lab", "bootstrap": { "dataSecretName": "data",
            "configRef": { "kind": "TalosConfig", "name": name } },
        "infrastructureRef": { "kind": "MetalMachine", "name": name } });
    object("Machine", name, json!({ "spec": spec, "status": status }))
}

fn metal_machine(name: &str, server: &str, ready: bool, condition: Value) -> DynamicObject {
    let spec = if server.is_empty() { json!({}) } else { json!({ "serverRef": { "name": server } }) };
    let status = json!({ "ready": ready, "conditions": [condition] });
    object("MetalMachine", name, json!({ "spec": spec, "status": status }))
}

/// What the only Machine waits for: a few words and the reason.
fn waits(objects: &Objects) -> Option<(String, String)> {
    let rows = clusters(objects);
    let wait = rows[0].machines[0].waits_for.clone();
    wait.map(|wait| (wait.what, wait.reason.unwrap_or_default()))
}

#[test]
fn a_machine_waits_for_the_first_thing_on_its_way() {
    let provided = || metal_machine("m", "s", true, condition("Ready", "True", "", ""));
    let running =
        json!({ "nodeRef": { "name": "n" }, "conditions": [condition("Ready", "True", "Ready", "")] });
    let bound = |conditions: Value| {
        let mut binding = object("ServerBinding", "s", json!({ "status": { "conditions": conditions } }));
        binding.metadata.namespace = None;
        vec![binding]
    };
    let unmade = |status: Value| {
        let mut machine = machine("m", json!({}));
        machine.data["spec"]["bootstrap"]["dataSecretName"] = Value::Null;
        Objects {
            machines: vec![machine],
            configs: vec![object("TalosConfig", "m", json!({ "status": status }))],
            ..Objects::default()
        }
    };
    let with = |status: &Value, metal_machine: DynamicObject, bindings: Vec<DynamicObject>| Objects {
        machines: vec![machine("m", status.clone())],
        metal_machines: vec![metal_machine],
        bindings,
        ..Objects::default()
    };
    let early = |reason: &str| metal_machine("m", "", false, bad("Ready", "Info", reason, "so"));
    let leaving = {
        let mut machine = machine("m", running.clone());
        machine.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-30T09:30:00Z")).unwrap();
        machine.data["status"]["conditions"] =
            json!([condition("Deleting", "True", "DrainingNode", "2 Pods")]);
        Objects { machines: vec![machine], metal_machines: vec![provided()], ..Objects::default() }
    };
    let paused = {
        let mut machine = machine("m", running.clone());
        machine.annotations_mut().insert("cluster.x-k8s.io/paused".to_owned(), String::new());
        Objects { machines: vec![machine], ..Objects::default() }
    };
    let none = json!({});
    let unhealthy = json!({ "nodeRef": { "name": "n" }, "conditions": [
        condition("Ready", "False", "NotReady", ""), condition("NodeHealthy", "Unknown", "ConnectionDown", "")] });
    let table = [
        (leaving, Some(("its deletion", "DrainingNode"))),
        (paused, Some(("the end of its pause", ""))),
        (unmade(none.clone()), Some(("its configuration", ""))),
        (
            unmade(
                json!({ "conditions": [bad("Ready", "Info", "Several", ""), bad("DataSecretAvailable", "Error",
                "PatchFailed", "no such path")] }),
            ),
            Some(("its configuration", "PatchFailed")),
        ),
        (with(&none, early("WaitingForServer"), vec![]), Some(("a Server", "WaitingForServer"))),
        (with(&none, early("ClassMissing"), vec![]), Some(("a Server", "ClassMissing"))),
        (
            with(&none, early("WaitingForClusterInfrastructure"), vec![]),
            Some(("the infrastructure of its cluster", "WaitingForClusterInfrastructure")),
        ),
        (
            with(&none, object("MetalMachine", "m", json!({ "spec": {} })), vec![]),
            Some(("the controllers", "")),
        ),
        (
            with(&none, provided(), bound(json!([bad("ConfigurationReady", "Error", "NoInstallDisk", "")]))),
            Some(("its configuration", "NoInstallDisk")),
        ),
        (
            with(
                &none,
                provided(),
                bound(json!([
                    condition("ConfigurationReady", "True", "", ""),
                    condition("TalosInstalled", "False", "TalosInstallationInProgress", "")
                ])),
            ),
            Some(("its installation", "TalosInstallationInProgress")),
        ),
        (with(&none, provided(), vec![]), Some(("Cluster API", ""))),
        (with(&unhealthy, provided(), vec![]), Some(("its node", "ConnectionDown"))),
        (with(&running, provided(), vec![]), None),
    ];
    for (number, (objects, expected)) in table.into_iter().enumerate() {
        let expected = expected.map(|(what, reason): (&str, &str)| (what.to_owned(), reason.to_owned()));
        assert_eq!(waits(&objects), expected, "case {number}");
    }
}

#[test]
fn a_cluster_waits_for_the_first_thing_on_its_way() {
    let cluster =
        |rest: Value| Objects { clusters: vec![object("Cluster", "lab", rest)], ..Objects::default() };
    let conditions = |list: Value| cluster(json!({ "status": { "conditions": list } }));
    let table = [
        (cluster(json!({})), Some("Cluster API")),
        (cluster(json!({ "spec": { "paused": true } })), Some("the end of its pause")),
        (
            conditions(json!([
                condition("Available", "False", "NotAvailable", ""),
                condition("ControlPlaneInitialized", "False", "NotInitialized", ""),
                condition("InfrastructureReady", "True", "Ready", "")
            ])),
            Some("its first control plane"),
        ),
        (
            conditions(json!([
                condition("Available", "Unknown", "Unknown", ""),
                condition("WorkersAvailable", "False", "NotAvailable", "")
            ])),
            Some("its workers"),
        ),
        (conditions(json!([condition("Available", "True", "Available", "")])), None),
        (
            cluster(json!({ "metadata": { "deletionTimestamp": "2026-11-30T09:30:00Z" } })),
            Some("its deletion"),
        ),
    ];
    for (objects, expected) in table {
        let rows = clusters(&objects);
        assert_eq!(rows[0].waits_for.as_ref().map(|wait| wait.what.as_str()), expected, "{objects:?}");
    }
}

fn lab() -> Objects {
    let status = json!({
        "controlPlane": { "desiredReplicas": 1, "readyReplicas": 1 }, "workers": { "desiredReplicas": 3 },
        "conditions": [condition("WorkersAvailable", "False", "NotAvailable",
            "* MachineDeployment lab-workers:\n  * 0 available replicas")],
    });
    let mut first = machine(
        "lab-cp-1",
        json!({ "phase": "Running", "nodeRef": { "name": "n1" }, "conditions": [condition("Ready", "True", "Ready", "")] }),
    );
    first.labels_mut().insert(CONTROL_PLANE_LABEL.to_owned(), String::new());
    let workers = ["lab-a", "lab-b", "lab-c"];
    let shortage = |name: &&str| {
        let message = "no Server of ServerClass any is free: 1 in use";
        metal_machine(name, "", false, bad("Ready", "Info", "WaitingForServer", message))
    };
    let mut metal_machines: Vec<_> = workers.iter().map(shortage).collect();
    metal_machines.push(metal_machine("lab-cp-1", "4c4c4544", true, condition("Ready", "True", "", "")));
    let mut machines: Vec<_> =
        workers.iter().map(|name| machine(name, json!({ "phase": "Provisioning" }))).collect();
    machines.push(first);
    let mut orphan = machine("left", json!({ "phase": "Pending" }));
    orphan.data["spec"]["clusterName"] = json!("gone");
    machines.push(orphan);
    Objects {
        clusters: vec![object("Cluster", "lab", json!({ "status": status }))],
        machines,
        metal_machines,
        ..Objects::default()
    }
}

#[test]
fn shows_clusters_their_machines_and_once_what_several_wait_for() {
    let expected = "
CLUSTER       CONTROL PLANE  WORKERS  WAITS FOR                          AGE
default/gone  -              -        its Cluster, which does not exist  -
default/lab   1 of 1         0 of 3   its workers (NotAvailable)         1h

MACHINE           ROLE           PHASE         SERVER    WAITS FOR                    AGE
default/left      worker         Pending       -         Cluster API                  1h
default/lab-cp-1  control plane  Running       4c4c4544  nothing                      1h
default/lab-a     worker         Provisioning  -         a Server (WaitingForServer)  1h
default/lab-b     worker         Provisioning  -         a Server (WaitingForServer)  1h
default/lab-c     worker         Provisioning  -         a Server (WaitingForServer)  1h

default/lab:
  * MachineDeployment lab-workers:
    * 0 available replicas

default/lab-a, default/lab-b and 1 more: no Server of ServerClass any is free: 1 in use
";
    assert_eq!(cluster_tables(&clusters(&lab()), now()), expected);
    assert_eq!(cluster_tables(&[], now()), "");
}

#[test]
fn many_different_sentences_are_cut_short() {
    let machines: Vec<_> = (0..10).map(|number| machine(&format!("m{number}"), json!({}))).collect();
    let metal_machines = (0..10)
        .map(|number| {
            let message = format!("sentence {number}");
            metal_machine(
                &format!("m{number}"),
                "",
                false,
                bad("Ready", "Info", "WaitingForServer", &message),
            )
        })
        .collect();
    let text = cluster_tables(&clusters(&Objects { machines, metal_machines, ..Objects::default() }), now());
    assert!(text.contains("m7: sentence 7") && !text.contains("sentence 8"), "{text}");
    assert!(text.ends_with("and 2 more: `bloomery status -o json` has all\n"), "{text}");
}

#[test]
fn programs_read_what_is_waited_for() {
    let rows = serde_json::to_value(clusters(&lab())).unwrap();
    assert_eq!(rows[1]["name"], "lab");
    assert_eq!(rows[1]["waitsFor"]["reason"], "NotAvailable");
    assert_eq!(rows[1]["controlPlane"], json!({ "desired": 1, "ready": 1 }));
    assert_eq!(
        rows[1]["machines"][0],
        json!({ "name": "lab-cp-1", "created": "2026-11-30T09:00:00Z", "isControlPlane": true, "phase": "Running",
            "server": "4c4c4544", "node": "n1", "waitsFor": null })
    );
}

#[test]
fn objects_of_another_shape_are_shown_and_nothing_fails() {
    let objects = Objects {
        clusters: vec![object("Cluster", "odd", json!({ "spec": 3, "status": { "conditions": "novel" } }))],
        machines: vec![object(
            "Machine",
            "odd",
            json!({ "status": { "conditions": [{ "type": 1 }, null] } }),
        )],
        ..Objects::default()
    };
    let text = cluster_tables(&clusters(&objects), now());
    assert!(text.contains("default/odd") && text.contains("Cluster API"), "{text}");
}
