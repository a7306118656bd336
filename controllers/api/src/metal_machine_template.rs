//! MetalMachineTemplate: what MetalMachines are made of (storage version v1alpha3).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metal_machine::MetalMachineSpec;
use crate::schema::{self, AGE, Column, column};
use crate::zero::is_zero;

/// Columns of the stored version; the older one has none.
pub(crate) const COLUMNS: [Column; 4] = [
    column(
        "Class",
        "string",
        ".spec.template.spec.serverClassRef.name",
        "the class that Servers are taken from",
    ),
    column("CPU", "string", ".status.capacity.cpu", "hardware threads of the smallest Server").wide(),
    column("Memory", "string", ".status.capacity.memory", "memory of the smallest Server").wide(),
    AGE,
];

/// What MetalMachines are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "MetalMachineTemplate",
    plural = "metalmachinetemplates",
    namespaced,
    doc = "MetalMachineTemplate is what MetalMachines are made of.",
    status = "MetalMachineTemplateStatus",
    shortname = "mtmt",
    category = "cluster-api",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
pub struct MetalMachineTemplateSpec {
    /// The template.
    pub template: MetalMachineTemplateResource,
}

/// The template of a MetalMachine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetalMachineTemplateResource {
    /// The spec of each MetalMachine.
    pub spec: MetalMachineSpec,
}

/// What a machine of the template has at least: autoscaling from zero asks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineTemplateStatus {
    /// The least of each resource that a Server of the class has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::resource_list")]
    pub capacity: BTreeMap<String, Quantity>,
    /// What a node of the template is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub node_info: NodeInfo,
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Processor architecture; empty where the Servers of the class differ.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "schema::architecture")]
    pub architecture: String,
    /// Operating system.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub operating_system: String,
}
