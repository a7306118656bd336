//! What a derive cannot express, or not in a line: map types, free-form JSON, columns.
//!
//! Never describes a kind: each kind's file holds its own fields.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// A column of `kubectl get`.
pub(crate) struct Column {
    name: &'static str,
    type_: &'static str,
    path: &'static str,
    description: &'static str,
    is_wide: bool,
}

/// How old the object is.
pub(crate) const AGE: Column = column("Age", "date", ".metadata.creationTimestamp", "");
/// The cluster that the object belongs to.
pub(crate) const CLUSTER: Column =
    column("Cluster", "string", ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name", "the cluster");
/// The class that the template belongs to.
pub(crate) const CLUSTER_CLASS: Column = column(
    "ClusterClass",
    "string",
    ".metadata.ownerReferences[?(@.kind==\"ClusterClass\")].name",
    "the ClusterClass",
);

/// A column with its type and JSON path.
pub(crate) const fn column(
    name: &'static str,
    type_: &'static str,
    path: &'static str,
    description: &'static str,
) -> Column {
    Column { name, type_, path, description, is_wide: false }
}

impl Column {
    /// Shown with `-o wide` alone.
    pub(crate) const fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }
}

/// The columns of a kind as its definition has them.
pub(crate) fn columns(own: &[Column]) -> Option<Vec<CustomResourceColumnDefinition>> {
    let definition = |column: &Column| CustomResourceColumnDefinition {
        name: column.name.to_owned(),
        type_: column.type_.to_owned(),
        json_path: column.path.to_owned(),
        description: (!column.description.is_empty()).then(|| column.description.to_owned()),
        priority: column.is_wide.then_some(1),
        format: None,
    };
    (!own.is_empty()).then(|| own.iter().map(definition).collect())
}

/// Marks a map as owned by one writer as a whole (server-side apply), as the core API marks references.
const MAP_TYPE: &str = "x-kubernetes-map-type";
/// The same for lists.
const LIST_TYPE: &str = "x-kubernetes-list-type";

/// A core object reference that is applied as a whole.
pub(crate) fn object_reference(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ObjectReference::json_schema(generator);
    schema.insert(MAP_TYPE.into(), json!("atomic"));
    schema
}

/// A label selector that is applied as a whole.
pub(crate) fn label_selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = LabelSelector::json_schema(generator);
    schema.insert(MAP_TYPE.into(), json!("atomic"));
    if let Some(expressions) =
        schema.pointer_mut("/properties/matchExpressions").and_then(|v| v.as_object_mut())
    {
        expressions.insert(LIST_TYPE.into(), json!("atomic"));
    }
    schema
}

/// Any JSON value, kept as it is.
pub(crate) fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// Conditions of contract v1beta2: one of each type.
pub(crate) fn standard_conditions(generator: &mut SchemaGenerator) -> Schema {
    keyed_list::<Condition>(generator, "type", 32)
}

/// A list of at most `most` items, one of each value of `key`.
pub(crate) fn keyed_list<T: JsonSchema>(generator: &mut SchemaGenerator, key: &str, most: u32) -> Schema {
    let mut schema = Vec::<T>::json_schema(generator);
    schema.insert(LIST_TYPE.into(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!([key]));
    schema.insert("maxItems".into(), json!(most));
    schema
}

/// The types of a machine's address.
pub(crate) fn machine_address_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "enum": ["Hostname", "ExternalIP", "InternalIP", "ExternalDNS", "InternalDNS"],
    })
}

/// The processor architectures of Cluster API's contract.
pub(crate) fn architecture(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["amd64", "arm64", "ppc64le", "s390x"] })
}

/// A number or a share in per cent.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// Quantities by the name of a resource.
pub(crate) fn resource_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            "x-kubernetes-int-or-string": true,
        },
    })
}

/// A Kubernetes version with its `v`.
pub(crate) fn kubernetes_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 2,
        "pattern": r"^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)([-0-9a-zA-Z_\.+]*)?$",
    })
}
