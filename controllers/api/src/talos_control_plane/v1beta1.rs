//! TalosControlPlane v1beta1: a further served version, with spec and status of contract v1beta2.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as StandardCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ControlPlaneConfig, ControlPlaneInitialization, MachineDeletion, MachineNamingStrategy, MachineTaint,
    ReadinessGate, RolloutStrategy, StatusVersion,
};
use crate::condition::Condition;
use crate::contract::{ContractReference, TemplateMeta};
use crate::{schema, zero::is_zero};

/// Which control plane nodes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1beta1",
    kind = "TalosControlPlane",
    plural = "taloscontrolplanes",
    namespaced,
    doc = "TalosControlPlane is the control plane nodes of a cluster.",
    status = "TalosControlPlaneStatus",
    shortname = "tcp",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name",
        description = "the cluster"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status",
        description = "whether the control plane is available"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "machines that are wanted"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "machines"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "machines whose node is ready"
    ),
    printcolumn(
        name = "Up-to-date",
        type_ = "integer",
        json_path = ".status.upToDateReplicas",
        description = "machines that are as the spec wants them"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".spec.version",
        description = "Kubernetes version"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TalosControlPlaneSpec {
    /// Number of nodes; 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Kubernetes version, with its `v`.
    #[schemars(schema_with = "schema::kubernetes_version")]
    pub version: String,
    /// What the machines are made of.
    pub machine_template: MachineTemplate,
    /// How machines are named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub machine_naming_strategy: MachineNamingStrategy,
    /// The machine configurations.
    pub control_plane_config: ControlPlaneConfig,
    /// How machines are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_strategy: Option<RolloutStrategy>,
}

/// What machines are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineTemplate {
    /// Labels and annotations of Machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: TemplateMeta,
    /// What Machines are given.
    pub spec: MachineTemplateSpec,
}

/// What Machines are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineTemplateSpec {
    /// What the infrastructure of each machine is made of.
    pub infrastructure_ref: ContractReference,
    /// Conditions that a Machine must have to be ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub readiness_gates: Vec<ReadinessGate>,
    /// How long a deletion waits for what.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deletion: MachineDeletion,
    /// Taints of nodes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taints: Vec<MachineTaint>,
    /// Seconds for which a node must be ready to be available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
}

/// What is known of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosControlPlaneStatus {
    /// Observations.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "schema::standard_conditions")]
    pub conditions: Vec<StandardCondition>,
    /// How far the control plane is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialization: ControlPlaneInitialization,
    /// Labels of the machines, as a query has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub selector: String,
    /// Machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replicas: i32,
    /// Machines whose node is ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Machines whose node is ready and was so for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Machines that are as the spec wants them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// Whether a node was told to make the cluster's etcd.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bootstrapped: bool,
    /// Generation of the spec that was seen last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// The lowest Kubernetes version of a machine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// All Kubernetes versions of machines, the oldest first.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "super::status_versions")]
    pub versions: Vec<StatusVersion>,
    /// What the older contract has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deprecated: Deprecated,
}

/// What the older contract has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deprecated {
    /// Contract v1beta1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub v1beta1: DeprecatedStatus,
}

/// What the older contract has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeprecatedStatus {
    /// Observations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Why it cannot go on, as one word. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_reason: String,
    /// Why it cannot go on. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_message: String,
    /// Machines whose node is not ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unavailable_replicas: i32,
    /// Whether the API server of the cluster answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready: bool,
    /// Whether the API server of the cluster ever answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialized: bool,
}
