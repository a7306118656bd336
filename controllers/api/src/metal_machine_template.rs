//! MetalMachineTemplate: what MetalMachines are made of (storage version v1alpha3).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metal_machine::MetalMachineSpec;
use crate::{schema, zero::is_zero};

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
    derive = "PartialEq",
    printcolumn(
        name = "Class",
        type_ = "string",
        json_path = ".spec.template.spec.serverClassRef.name",
        description = "the class that Servers are taken from"
    ),
    printcolumn(
        name = "CPU",
        type_ = "string",
        json_path = ".status.capacity.cpu",
        description = "hardware threads of the smallest Server",
        priority = 1
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.capacity.memory",
        description = "memory of the smallest Server",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
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
