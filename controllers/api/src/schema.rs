//! Schema pieces that a derive cannot express: map types and free-form JSON.
//!
//! Never describes a kind: each kind's file holds its own fields.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

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
