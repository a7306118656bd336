//! TalosControlPlane: the control plane nodes of a cluster (storage version v1alpha3).

use k8s_openapi::api::core::v1::{ObjectReference, Taint};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::contract::{StandardConditions, TemplateMeta};
use crate::schema::{self, AGE, CLUSTER, Column, column};
use crate::talos_config::TalosConfigSpec;
use crate::zero::is_zero;

/// Keeps a TalosControlPlane until its machines are gone.
pub const FINALIZER: &str = "talos.controlplane.cluster.x-k8s.io";
/// Replaces nodes one by one.
pub const ROLLING_UPDATE: &str = "RollingUpdate";
/// Replaces nodes that a person deletes.
pub const ON_DELETE: &str = "OnDelete";
/// What `rolloutStrategy.type` may be besides nothing, in the order in which messages list it.
pub const ROLLOUT_STRATEGIES: [&str; 2] = [ROLLING_UPDATE, ON_DELETE];

/// Columns of the stored version.
pub(crate) const COLUMNS: [Column; 5] = [
    column("Ready", "boolean", ".status.ready", "whether the API server of the cluster answers"),
    column(
        "Initialized",
        "boolean",
        ".status.initialized",
        "whether the API server of the cluster ever answered",
    ),
    column("Replicas", "integer", ".status.replicas", "machines"),
    column("Ready Replicas", "integer", ".status.readyReplicas", "machines whose node is ready"),
    column(
        "Unavailable Replicas",
        "integer",
        ".status.unavailableReplicas",
        "machines whose node is not ready",
    ),
];

/// Columns of v1beta1.
pub(crate) const COLUMNS_V1BETA1: [Column; 8] = [
    CLUSTER,
    column(
        "Available",
        "string",
        ".status.conditions[?(@.type==\"Available\")].status",
        "whether the control plane is available",
    ),
    column("Desired", "integer", ".spec.replicas", "machines that are wanted"),
    column("Current", "integer", ".status.replicas", "machines"),
    column("Ready", "integer", ".status.readyReplicas", "machines whose node is ready"),
    column("Up-to-date", "integer", ".status.upToDateReplicas", "machines that are as the spec wants them"),
    column("Version", "string", ".spec.version", "Kubernetes version"),
    AGE,
];

/// Which control plane nodes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1alpha3",
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
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TalosControlPlaneSpec {
    /// Number of nodes; 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Kubernetes version, with its `v`.
    #[schemars(schema_with = "schema::kubernetes_version")]
    pub version: String,
    /// What the infrastructure of each machine is made of.
    #[schemars(schema_with = "schema::object_reference")]
    pub infrastructure_template: ObjectReference,
    /// What the machines are made of besides. Nothing in it replaces a machine.
    #[serde(default, skip_serializing_if = "is_zero")]
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

/// What machines are made of besides their infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineTemplate {
    /// Labels and annotations of Machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: TemplateMeta,
    /// What Machines are given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spec: MachineTemplateSpec,
}

/// What Machines are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineTemplateSpec {
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

/// A condition that a Machine must have to be ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessGate {
    /// Type of the condition.
    #[schemars(length(min = 1, max = 316))]
    pub condition_type: String,
    /// Positive, or Negative for a condition that must be false.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub polarity: String,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineTaint {
    /// The taint.
    #[serde(flatten)]
    pub taint: Taint,
    /// Always, or OnInitialization for one that is set once.
    pub propagation: String,
}

/// How long the deletion of a Machine waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeletion {
    /// Seconds for the node to be drained; 0 or absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_drain_timeout_seconds: Option<i32>,
    /// Seconds for volumes to be detached; 0 or absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// Seconds for the node object to be deleted; absent for 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_deletion_timeout_seconds: Option<i32>,
}

/// How machines are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineNamingStrategy {
    /// Go template with `.cluster.name`, `.talosControlPlane.name` and `.random`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(max = 256))]
    pub template: String,
}

/// The machine configurations of control plane nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlPlaneConfig {
    /// Of the first machine. Deprecated: one configuration serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<TalosConfigSpec>,
    /// Of all machines.
    pub controlplane: TalosConfigSpec,
}

/// How machines are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// RollingUpdate (also if it is left out) or OnDelete.
    #[serde(rename = "type", default, skip_serializing_if = "is_zero")]
    pub type_: String,
    /// How a rolling update goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// How a rolling update goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// Machines above the number that is wanted: 0 or 1; 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_surge: Option<IntOrString>,
}

/// A Kubernetes version and how many machines have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusVersion {
    /// The version.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
    /// Machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

/// How far a control plane is (contract v1beta2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneInitialization {
    /// Whether the API server of the cluster ever answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// What is known of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosControlPlaneStatus {
    /// Labels of the machines, as a query has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub selector: String,
    /// Machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replicas: i32,
    /// Machines whose node is ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Machines whose node is ready and was so for long enough (contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Machines that are as the spec wants them (contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// Machines that are as the spec wants them (contract v1beta1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// Machines whose node is not ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unavailable_replicas: i32,
    /// Whether the API server of the cluster ever answered (contract v1beta1).
    #[serde(default)]
    pub initialized: bool,
    /// How far the control plane is (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialization: ControlPlaneInitialization,
    /// Whether the API server of the cluster answers (contract v1beta1).
    #[serde(default)]
    pub ready: bool,
    /// Whether a node was told to make the cluster's etcd.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bootstrapped: bool,
    /// Why it cannot go on, as one word. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_reason: String,
    /// Why it cannot go on. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_message: String,
    /// Generation of the spec that was seen last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// The lowest Kubernetes version of a machine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// All Kubernetes versions of machines, the oldest first.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "status_versions")]
    pub versions: Vec<StatusVersion>,
    /// Observations (contract v1beta1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Observations (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub v1beta2: StandardConditions,
}

/// Versions of a control plane: each once.
fn status_versions(generator: &mut SchemaGenerator) -> Schema {
    schema::keyed_list::<StatusVersion>(generator, "version", 100)
}
