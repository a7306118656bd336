//! A Cluster, a Machine and a TalosConfig as in the golden files, each with changes.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::contract::{Cluster, Machine, MachinePool};
use crate::talos_config::TalosConfig;

/// `change` over `object`: objects are merged, all else is replaced, null removes.
pub(super) fn merged(mut object: Value, change: Value) -> Value {
    match (object.as_object_mut(), change) {
        (Some(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                let before = fields.remove(&key).unwrap_or_default();
                if !change.is_null() {
                    fields.insert(key, merged(before, change));
                }
            }
            object
        }
        (_, change) => change,
    }
}

fn of<K: DeserializeOwned>(object: Value, change: Value) -> K {
    serde_json::from_value(merged(object, change)).unwrap()
}

pub(super) fn cluster(change: Value) -> Cluster {
    let object = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "held", "namespace": "default", "uid": "c-uid" },
        "spec": { "controlPlaneEndpoint": { "host": "10.77.0.50", "port": 6443 } },
        "status": { "initialization": { "infrastructureProvisioned": true } } });
    of(object, change)
}

fn machine_spec() -> Value {
    json!({ "clusterName": "held", "version": "v1.34.2", "bootstrap": {}, "infrastructureRef":
        { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachine", "name": "metal-abc" } })
}

pub(super) fn machine(change: Value) -> Machine {
    let labels = json!({ "cluster.x-k8s.io/cluster-name": "held", "cluster.x-k8s.io/control-plane": "" });
    let object = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "spec": machine_spec(),
        "metadata": { "name": "held-cp-0", "namespace": "default", "uid": "m-uid", "labels": labels } });
    of(object, change)
}

pub(super) fn pool(change: Value) -> MachinePool {
    let object = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool",
        "metadata": { "name": "held-pool", "namespace": "default", "uid": "mp-uid" },
        "spec": { "clusterName": "held", "template": { "spec": machine_spec() } } });
    of(object, change)
}

pub(super) fn config(change: Value) -> TalosConfig {
    let owner = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "held-cp-0", "uid": "m-uid" });
    let object = json!({ "apiVersion": "bootstrap.cluster.x-k8s.io/v1alpha3", "kind": "TalosConfig",
        "metadata": { "name": "tc", "namespace": "default", "uid": "t-uid", "generation": 1, "ownerReferences": [owner] },
        "spec": { "generateType": "controlplane", "talosVersion": "v1.13" } });
    of(object, change)
}
