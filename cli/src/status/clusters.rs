//! Clusters and their machines, and what each waits for: read from the conditions of their objects.
//!
//! Never decides anything: the controllers did, and wrote it down.

pub(super) mod text;
mod wait;

use std::collections::BTreeMap;

use bloomery_api::contract::CLUSTER_LABEL;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use super::kubernetes::Objects;
use wait::Parts;
pub(super) use wait::Wait;

/// Label of machines of the control plane.
const CONTROL_PLANE_LABEL: &str = "cluster.x-k8s.io/control-plane";

/// A Cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterRow {
    pub(super) namespace: String,
    pub(super) name: String,
    /// RFC 3339.
    pub(super) created: Option<String>,
    pub(super) control_plane: Replicas,
    pub(super) workers: Replicas,
    /// Null when it waits for nothing.
    pub(super) waits_for: Option<Wait>,
    pub(super) machines: Vec<MachineRow>,
}

/// How many machines there are of a kind; null where Cluster API has not said so.
#[derive(Debug, Default, Serialize)]
pub(super) struct Replicas {
    pub(super) desired: Option<u64>,
    pub(super) ready: Option<u64>,
}

/// A Machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineRow {
    pub(super) name: String,
    pub(super) created: Option<String>,
    pub(super) is_control_plane: bool,
    /// Cluster API's word for how far it is.
    pub(super) phase: Option<String>,
    /// The Server that it has or is to have.
    pub(super) server: Option<String>,
    /// The node that it became.
    pub(super) node: Option<String>,
    /// Null when it waits for nothing.
    pub(super) waits_for: Option<Wait>,
}

/// An object's namespace and name.
type Place = (String, String);

/// The clusters, by namespace and name, with their machines. A machine whose Cluster is gone is told under its name.
pub(super) fn clusters(objects: &Objects) -> Vec<ClusterRow> {
    let Objects { clusters, machines, metal_machines, configs, bindings } = objects;
    let (metal_machines, configs) = (by_place(metal_machines), by_place(configs));
    let bindings: BTreeMap<String, &DynamicObject> =
        bindings.iter().map(|binding| (binding.name_any(), binding)).collect();
    let mut of_cluster: BTreeMap<Place, Vec<MachineRow>> = BTreeMap::new();
    for machine in machines {
        let spec = &machine.data["spec"];
        let referred = |reference: &Value, known: &BTreeMap<Place, &DynamicObject>, kind: &str| {
            let name = reference["name"].as_str().filter(|_| reference["kind"] == kind)?;
            known
                .get(&(machine.namespace().unwrap_or_default(), name.to_owned()))
                .map(|found| (*found).clone())
        };
        let metal_machine = referred(&spec["infrastructureRef"], &metal_machines, "MetalMachine");
        let config = referred(&spec["bootstrap"]["configRef"], &configs, "TalosConfig");
        let server = metal_machine.as_ref().and_then(server_of);
        let parts = Parts {
            machine,
            config: config.as_ref(),
            metal_machine: metal_machine.as_ref(),
            binding: server.as_ref().and_then(|server| bindings.get(server)).copied(),
        };
        let row = MachineRow {
            name: machine.name_any(),
            created: created(machine),
            is_control_plane: machine.labels().contains_key(CONTROL_PLANE_LABEL),
            phase: text(&machine.data["status"]["phase"]),
            waits_for: parts.wait(),
            server,
            node: text(&machine.data["status"]["nodeRef"]["name"]),
        };
        let cluster = text(&spec["clusterName"]).or_else(|| machine.labels().get(CLUSTER_LABEL).cloned());
        let place = (machine.namespace().unwrap_or_default(), cluster.unwrap_or_default());
        of_cluster.entry(place).or_default().push(row);
    }
    let mut rows: BTreeMap<Place, ClusterRow> = clusters
        .iter()
        .map(|cluster| {
            let machines = of_cluster.remove(&place(cluster)).unwrap_or_default();
            (place(cluster), row(cluster, machines))
        })
        .collect();
    for ((namespace, name), machines) in of_cluster {
        let orphans = ClusterRow {
            namespace: namespace.clone(),
            name: name.clone(),
            created: None,
            control_plane: Replicas::default(),
            workers: Replicas::default(),
            waits_for: Some(Wait::new("its Cluster, which does not exist")),
            machines,
        };
        rows.insert((namespace, name), orphans);
    }
    let mut rows: Vec<ClusterRow> = rows.into_values().collect();
    for row in &mut rows {
        row.machines.sort_by(|one, other| {
            (!one.is_control_plane, &one.name).cmp(&(!other.is_control_plane, &other.name))
        });
    }
    rows
}

fn row(cluster: &DynamicObject, machines: Vec<MachineRow>) -> ClusterRow {
    let replicas = |of: &str| {
        let status = &cluster.data["status"][of];
        Replicas { desired: status["desiredReplicas"].as_u64(), ready: status["readyReplicas"].as_u64() }
    };
    ClusterRow {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        created: created(cluster),
        control_plane: replicas("controlPlane"),
        workers: replicas("workers"),
        waits_for: wait::of_cluster(cluster),
        machines,
    }
}

fn by_place(objects: &[DynamicObject]) -> BTreeMap<Place, &DynamicObject> {
    objects.iter().map(|object| (place(object), object)).collect()
}

fn place(object: &DynamicObject) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn server_of(metal_machine: &DynamicObject) -> Option<String> {
    text(&metal_machine.data["spec"]["serverRef"]["name"])
}

fn created(object: &DynamicObject) -> Option<String> {
    object.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
