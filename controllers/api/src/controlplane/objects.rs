//! The objects that a machine is made of, and what of them follows the spec without a new machine.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use serde_json::{Map, Value, json};

use super::outdated::{self, with_v};
use super::seen::{CLONED_FROM_GROUP_KIND, CLONED_FROM_NAME};
use crate::contract::{CLUSTER_LABEL, CONTROL_PLANE_LABEL, Cluster, FailureDomain, Machine};
use crate::talos_config::{TalosConfig, TalosConfigSpec};
use crate::talos_control_plane::{MachineTemplate, TalosControlPlane};
use crate::{BOOTSTRAP_GROUP, CONTROL_PLANE_GROUP};

/// End of the kind of a template.
const TEMPLATE: &str = "Template";

/// The names of one machine's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of the Machine and its TalosConfig.
    pub machine: String,
    /// Of the infrastructure object.
    pub infrastructure: String,
}

/// The reference of an object to the control plane that owns it.
pub fn owner(control_plane: &TalosControlPlane, is_controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: TalosControlPlane::api_version(&()).into_owned(),
        kind: TalosControlPlane::kind(&()).into_owned(),
        name: control_plane.metadata.name.clone().unwrap_or_default(),
        uid: control_plane.metadata.uid.clone().unwrap_or_default(),
        controller: is_controller.then_some(true),
        block_owner_deletion: is_controller.then_some(true),
    }
}

/// Labels of all objects of a machine.
pub fn labels(control_plane: &TalosControlPlane, cluster: &str) -> BTreeMap<String, String> {
    let mut labels = control_plane.spec.machine_template.metadata.labels.clone();
    labels.insert(CLUSTER_LABEL.to_owned(), cluster.to_owned());
    labels.insert(CONTROL_PLANE_LABEL.to_owned(), String::new());
    labels
}

/// The infrastructure object of a template, as Cluster API clones one. `None` if the template has no spec to clone.
pub fn infrastructure(
    control_plane: &TalosControlPlane,
    cluster: &str,
    names: &Names,
    template: &Value,
) -> Option<Value> {
    let origin = outdated::template(control_plane);
    let spec = template.pointer("/spec/template/spec")?;
    let text = |pointer: &str| template.pointer(pointer).and_then(Value::as_str);
    let map =
        |pointer: &str| template.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut annotations = map("/spec/template/metadata/annotations");
    annotations.insert(CLONED_FROM_NAME.to_owned(), json!(origin.name));
    annotations.insert(CLONED_FROM_GROUP_KIND.to_owned(), json!(origin.group_kind));
    let mut all = map("/spec/template/metadata/labels");
    all.extend(labels(control_plane, cluster).into_iter().map(|(key, value)| (key, json!(value))));
    let kind = text("/kind")?;
    Some(json!({
        "apiVersion": text("/apiVersion")?,
        "kind": kind.strip_suffix(TEMPLATE).unwrap_or(kind),
        "metadata": {
            "name": names.infrastructure,
            "namespace": control_plane.metadata.namespace,
            "labels": all,
            "annotations": annotations,
            "ownerReferences": [owner(control_plane, false)],
        },
        "spec": spec,
    }))
}

/// The TalosConfig of a machine.
pub fn config(
    control_plane: &TalosControlPlane,
    cluster: &str,
    names: &Names,
    spec: &TalosConfigSpec,
) -> TalosConfig {
    let mut config = TalosConfig::new(&names.machine, spec.clone());
    let owner = OwnerReference { block_owner_deletion: Some(true), ..owner(control_plane, false) };
    config.metadata.namespace.clone_from(&control_plane.metadata.namespace);
    config.metadata.labels = Some(labels(control_plane, cluster));
    config.metadata.owner_references = Some(vec![owner]);
    config
}

/// The Machine. `infrastructure` is its group and kind.
pub fn machine(
    control_plane: &TalosControlPlane,
    cluster: &str,
    names: &Names,
    (group, kind): (&str, &str),
    failure_domain: Option<&str>,
) -> Value {
    let mut spec = json!({
        "clusterName": cluster,
        "version": with_v(&control_plane.spec.version),
        "bootstrap": { "configRef": { "apiGroup": BOOTSTRAP_GROUP, "kind": "TalosConfig", "name": names.machine } },
        "infrastructureRef": { "apiGroup": group, "kind": kind, "name": names.infrastructure },
    });
    if let Some(domain) = failure_domain {
        spec["failureDomain"] = json!(domain);
    }
    for (key, value) in following(&control_plane.spec.machine_template) {
        if !value.is_null() {
            spec[key] = value;
        }
    }
    json!({
        "apiVersion": Machine::api_version(&()),
        "kind": "Machine",
        "metadata": {
            "name": names.machine,
            "namespace": control_plane.metadata.namespace,
            "labels": labels(control_plane, cluster),
            "annotations": control_plane.spec.machine_template.metadata.annotations,
            "ownerReferences": [owner(control_plane, true)],
        },
        "spec": spec,
    })
}

/// What of a Machine's spec follows the template at once.
fn following(template: &MachineTemplate) -> [(&'static str, Value); 4] {
    let some = |value: Value| {
        let is_empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if is_empty { Value::Null } else { value }
    };
    let spec = &template.spec;
    [
        ("readinessGates", some(json!(spec.readiness_gates))),
        ("deletion", some(json!(spec.deletion))),
        ("taints", some(json!(spec.taints))),
        ("minReadySeconds", json!(spec.min_ready_seconds)),
    ]
}

/// The change that brings a Machine to its owner, and to what follows the template at once; `None` if there is none. What others
/// added to labels and annotations stays.
pub fn upkeep(control_plane: &TalosControlPlane, cluster: &str, machine: &Machine) -> Option<Value> {
    let mut change = json!({});
    let meta = &machine.metadata;
    if let Some(owners) = adopted(control_plane, meta.owner_references.as_deref().unwrap_or_default()) {
        change["metadata"]["ownerReferences"] = json!(owners);
    }
    let missing = |wanted: &BTreeMap<String, String>, known: Option<&BTreeMap<String, String>>| {
        let is_missing =
            |(key, value): &(&String, &String)| known.and_then(|all| all.get(*key)) != Some(*value);
        let missing: Map<_, _> =
            wanted.iter().filter(is_missing).map(|(key, value)| (key.clone(), json!(value))).collect();
        (!missing.is_empty()).then_some(missing)
    };
    if let Some(missing) = missing(&labels(control_plane, cluster), meta.labels.as_ref()) {
        change["metadata"]["labels"] = json!(missing);
    }
    let annotations = &control_plane.spec.machine_template.metadata.annotations;
    if let Some(missing) = missing(annotations, meta.annotations.as_ref()) {
        change["metadata"]["annotations"] = json!(missing);
    }
    let spec = &machine.spec;
    let known = [&spec.readiness_gates, &spec.deletion, &spec.taints, &json!(spec.min_ready_seconds)];
    for ((key, wanted), known) in following(&control_plane.spec.machine_template).into_iter().zip(known) {
        // Cluster API fills in what a template leaves open.
        let differs = !wanted.is_null() && !includes(known, &wanted);
        if differs {
            change["spec"][key] = wanted;
        }
    }
    (change != json!({})).then_some(change)
}

/// Whether everything in `wanted` is in `known`.
fn includes(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| known.get(key).is_some_and(|known| includes(known, wanted)))
        }
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known.iter().zip(wanted).all(|(known, wanted)| includes(known, wanted))
        }
        (known, wanted) => known == wanted,
    }
}

/// The owners with the control plane as the controlling one; `None` if it is, or if another is.
fn adopted(control_plane: &TalosControlPlane, owners: &[OwnerReference]) -> Option<Vec<OwnerReference>> {
    let own = owner(control_plane, true);
    if owners.contains(&own) || owners.iter().any(|one| one.controller == Some(true) && one.uid != own.uid) {
        return None;
    }
    let is_own = |one: &&OwnerReference| {
        let is_of_group = one.api_version.starts_with(CONTROL_PLANE_GROUP);
        is_of_group && (&one.kind, &one.name) == (&own.kind, &own.name)
    };
    let others: Vec<_> = owners.iter().filter(|one| !is_own(one)).cloned().collect();
    Some(others.into_iter().chain([own]).collect())
}

/// The owners of an object with this one; `None` if it has it, of whatever version.
pub fn owned_by(owners: &[OwnerReference], owner: &OwnerReference) -> Option<Vec<OwnerReference>> {
    if owners.contains(owner) {
        return None;
    }
    let others = owners.iter().filter(|one| (&one.kind, &one.name) != (&owner.kind, &owner.name));
    Some(others.cloned().chain([owner.clone()]).collect())
}

/// The failure domain for a new machine: that with the fewest machines, by name where several have as many.
pub fn failure_domain<'a>(cluster: &'a Cluster, taken: &[&str]) -> Option<&'a str> {
    let domains = cluster.status.iter().flat_map(|status| &status.failure_domains);
    let usable = domains.filter(|domain: &&FailureDomain| domain.control_plane != Some(false));
    let machines = |name: &str| taken.iter().filter(|taken| **taken == name).count();
    usable.map(|domain| domain.name.as_str()).min_by_key(|name| (machines(name), *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talos_control_plane::TalosControlPlaneSpec;

    fn control_plane() -> TalosControlPlane {
        let spec: TalosControlPlaneSpec = serde_json::from_value(json!({
            "version": "1.36.0", "replicas": 3,
            "infrastructureTemplate": { "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3",
                "kind": "MetalMachineTemplate", "name": "t", "namespace": "ns" },
            "machineTemplate": { "metadata": { "labels": { "l": "1" }, "annotations": { "a": "2" } },
                "spec": { "deletion": { "nodeDrainTimeoutSeconds": 5 }, "minReadySeconds": 7 } },
            "controlPlaneConfig": { "controlplane": { "generateType": "controlplane" } },
        }))
        .unwrap();
        let mut made = TalosControlPlane::new("cp", spec);
        made.metadata.namespace = Some("ns".to_owned());
        made.metadata.uid = Some("u".to_owned());
        made
    }

    fn names() -> Names {
        Names { machine: "cp-xxxxx".to_owned(), infrastructure: "t-xxxxx".to_owned() }
    }

    #[test]
    fn a_machine_is_made_as_upstream_makes_it() {
        let template = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachineTemplate",
            "metadata": { "name": "t" },
            "spec": { "template": { "metadata": { "labels": { "rack": "r" } }, "spec": { "x": [1] } } } });
        let made = infrastructure(&control_plane(), "c", &names(), &template).unwrap();
        let labels = json!({ "rack": "r", "l": "1", "cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/control-plane": "" });
        assert_eq!(made["kind"], "MetalMachine");
        assert_eq!(made["metadata"]["labels"], labels);
        assert_eq!(
            made["metadata"]["annotations"],
            json!({ CLONED_FROM_NAME: "t", CLONED_FROM_GROUP_KIND: "MetalMachineTemplate.infrastructure.cluster.x-k8s.io" })
        );
        let owner = json!({ "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha3", "kind": "TalosControlPlane",
            "name": "cp", "uid": "u" });
        assert_eq!(made["metadata"]["ownerReferences"], json!([owner]));
        assert_eq!(made["spec"], json!({ "x": [1] }));
        assert_eq!(infrastructure(&control_plane(), "c", &names(), &json!({ "kind": "T" })), None);

        let group_kind = ("infrastructure.cluster.x-k8s.io", "MetalMachine");
        let made = machine(&control_plane(), "c", &names(), group_kind, Some("r1"));
        assert_eq!(
            made["spec"],
            json!({ "clusterName": "c", "version": "v1.36.0", "failureDomain": "r1",
                "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "TalosConfig", "name": "cp-xxxxx" } },
                "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachine", "name": "t-xxxxx" },
                "deletion": { "nodeDrainTimeoutSeconds": 5 }, "minReadySeconds": 7 })
        );
        assert_eq!(made["metadata"]["ownerReferences"][0]["controller"], true);
        let config =
            config(&control_plane(), "c", &names(), &control_plane().spec.control_plane_config.controlplane);
        let owner = &config.metadata.owner_references.unwrap()[0];
        assert_eq!((owner.controller, owner.block_owner_deletion), (None, Some(true)));
    }

    #[test]
    fn what_a_machine_lost_comes_back_and_at_rest_nothing_changes() {
        let template = ("infrastructure.cluster.x-k8s.io", "MetalMachine");
        let made = machine(&control_plane(), "c", &names(), template, None);
        let mut kept: Machine = serde_json::from_value(made.clone()).unwrap();
        assert_eq!(upkeep(&control_plane(), "c", &kept), None);
        // Cluster API fills in more than the template says.
        kept.spec.deletion = json!({ "nodeDrainTimeoutSeconds": 5, "nodeDeletionTimeoutSeconds": 10 });
        kept.metadata.labels.as_mut().unwrap().insert("other".to_owned(), "x".to_owned());
        assert_eq!(upkeep(&control_plane(), "c", &kept), None);
        kept.metadata.owner_references = None;
        kept.metadata.labels.as_mut().unwrap().remove(CONTROL_PLANE_LABEL);
        kept.spec.deletion = json!({ "nodeDrainTimeoutSeconds": 6 });
        let change = upkeep(&control_plane(), "c", &kept).unwrap();
        assert_eq!(change["metadata"]["ownerReferences"], made["metadata"]["ownerReferences"]);
        assert_eq!(change["metadata"]["labels"], json!({ CONTROL_PLANE_LABEL: "" }));
        assert_eq!(change["spec"], json!({ "deletion": { "nodeDrainTimeoutSeconds": 5 } }));
        // One that another controller has is left to it.
        let mut other = owner(&control_plane(), true);
        other.uid = "other".to_owned();
        other.kind = "Other".to_owned();
        kept.metadata.owner_references = Some(vec![other]);
        let change = upkeep(&control_plane(), "c", &kept).unwrap();
        assert_eq!(change["metadata"]["ownerReferences"], Value::Null);
    }

    #[test]
    fn machines_are_spread_over_failure_domains() {
        let cluster = |domains: Value| -> Cluster {
            serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "name": "c" }, "spec": {}, "status": { "failureDomains": domains } }))
            .unwrap()
        };
        let three = cluster(
            json!([{ "name": "b", "controlPlane": true }, { "name": "a" }, { "name": "w", "controlPlane": false }]),
        );
        for (taken, expected) in
            [(vec![], "a"), (vec!["a"], "b"), (vec!["a", "b", "b"], "a"), (vec!["w"], "a")]
        {
            assert_eq!(failure_domain(&three, &taken), Some(expected), "{taken:?}");
        }
        assert_eq!(failure_domain(&cluster(json!([])), &[]), None);
    }
}
