//! What Cluster API's contract asks of every infrastructure controller: owners, and hands off while paused.

use bloomery_api::contract::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use bloomery_api::contract::{CLUSTER_GROUP as GROUP, CLUSTER_LABEL};

/// Annotation that pauses one object, whatever its value.
pub const PAUSED_ANNOTATION: &str = "cluster.x-k8s.io/paused";

/// The owner of this group and kind, of whatever version: the controlling one if there are several. It is in the
/// object's namespace.
pub fn owner<'a>(meta: &'a ObjectMeta, group: &str, kind: &str) -> Option<&'a OwnerReference> {
    let is_of = |owner: &&OwnerReference| {
        owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(found, _)| found == group)
    };
    let owners = || meta.owner_references.iter().flatten().filter(is_of);
    owners().find(|owner| owner.controller == Some(true)).or_else(|| owners().next())
}

/// The name of the Cluster that an object belongs to: by its label, else by its owner.
pub fn cluster_name(meta: &ObjectMeta) -> Option<&str> {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(CLUSTER_LABEL)).map(String::as_str);
    label.filter(|name| !name.is_empty()).or_else(|| Some(owner(meta, GROUP, "Cluster")?.name.as_str()))
}

/// Whether nothing may be done to an object: itself or its Cluster is paused. `clusterctl move` pauses Clusters.
pub fn is_paused(meta: &ObjectMeta, cluster: Option<&Cluster>) -> bool {
    let is_marked = meta.annotations.as_ref().is_some_and(|all| all.contains_key(PAUSED_ANNOTATION));
    is_marked || cluster.is_some_and(|cluster| cluster.spec.paused == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn reference(version: &str, kind: &str, name: &str, controller: bool) -> Value {
        json!({ "apiVersion": version, "kind": kind, "name": name, "uid": name, "controller": controller })
    }

    fn cluster(spec: &Value) -> Cluster {
        serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c" }, "spec": spec }))
        .unwrap()
    }

    #[test]
    fn an_owner_is_found_by_group_and_kind_in_any_version() {
        let owned = meta(json!({ "ownerReferences": [
            reference("other.x-k8s.io/v1beta1", "Machine", "other", true),
            reference("v1", "Machine", "core", true),
            reference("cluster.x-k8s.io/v1beta1", "MachineSet", "set", true),
            reference("cluster.x-k8s.io/v1beta2", "Machine", "first", false),
            reference("cluster.x-k8s.io/v1beta1", "Machine", "controlling", true),
        ]}));
        let name = |kind| owner(&owned, GROUP, kind).map(|owner| owner.name.as_str());
        assert_eq!(name("Machine"), Some("controlling"));
        assert_eq!(name("MachineSet"), Some("set"));
        assert_eq!(name("Cluster"), None);
        let shared =
            meta(json!({ "ownerReferences": [reference("cluster.x-k8s.io/v1", "Cluster", "c", false)] }));
        assert_eq!(cluster_name(&shared), Some("c"));
    }

    #[test]
    fn the_label_names_the_cluster_before_the_owner_does() {
        let references = json!([reference("cluster.x-k8s.io/v1beta1", "Cluster", "owner", true)]);
        for (labels, expected) in [
            (json!({ CLUSTER_LABEL: "label" }), "label"),
            (json!({ CLUSTER_LABEL: "" }), "owner"),
            (json!({}), "owner"),
        ] {
            let object = meta(json!({ "labels": labels, "ownerReferences": references }));
            assert_eq!(cluster_name(&object), Some(expected));
        }
        assert_eq!(cluster_name(&ObjectMeta::default()), None);
    }

    #[test]
    fn an_annotation_or_the_cluster_pauses() {
        let plain = ObjectMeta::default();
        for value in ["", "true", "false"] {
            assert!(
                is_paused(&meta(json!({ "annotations": { PAUSED_ANNOTATION: value } })), None),
                "{value}"
            );
        }
        for (spec, expected) in
            [(json!({ "paused": true }), true), (json!({ "paused": false }), false), (json!({}), false)]
        {
            assert_eq!(is_paused(&plain, Some(&cluster(&spec))), expected, "{spec}");
        }
        assert!(!is_paused(&plain, None));
    }
}
