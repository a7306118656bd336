//! TalosConfig: how a machine configuration is made (storage version v1alpha3).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::contract::StandardConditions;
use crate::patch::ConfigPatch;
use crate::schema::{AGE, CLUSTER, Column, column};
use crate::zero::is_zero;

/// The finalizer of old releases; it is only ever taken off.
pub const LEGACY_FINALIZER: &str = "talosconfig.bootstrap.cluster.x-k8s.io";
/// What `hostname.source` may be besides nothing, in the order in which messages list it.
pub const HOSTNAME_SOURCES: [&str; 2] = ["MachineName", "InfrastructureName"];

/// Columns of v1beta1; the other versions have none.
pub(crate) const COLUMNS_V1BETA1: [Column; 4] = [
    CLUSTER,
    column(
        "Initialized",
        "boolean",
        ".status.initialization.dataSecretCreated",
        "whether the configuration was made",
    ),
    column("Bootstrap secret", "string", ".status.dataSecretName", "the Secret with the configuration"),
    AGE,
];

/// How a machine configuration is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "TalosConfig",
    plural = "talosconfigs",
    namespaced,
    doc = "TalosConfig is how the machine configuration of a node is made.",
    status = "TalosConfigStatus",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigSpec {
    /// Talos version that the configuration is for, such as v1.13; empty for the newest that is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub talos_version: String,
    /// Type of the machine: controlplane, worker (also join), init (deprecated), or none for the configuration in `data`.
    pub generate_type: String,
    /// The whole machine configuration, for the type none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub data: String,
    /// RFC 6902 patches of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config_patches: Vec<ConfigPatch>,
    /// Talos strategic merge patches (YAML or JSON text) of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strategic_patches: Vec<String>,
    /// Where the host name comes from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hostname: HostnameSpec,
}

/// Where a host name comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostnameSpec {
    /// MachineName, InfrastructureName, or nothing to leave it to Talos.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub source: String,
}

/// What is known of a machine configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigStatus {
    /// Whether the configuration was made (contract v1beta1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready: bool,
    /// Name of the Secret with the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
    /// A client configuration. Deprecated: the Secret `<cluster>-talosconfig` has it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub talos_config: String,
    /// Why it cannot go on, as one word. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_reason: String,
    /// Why it cannot go on. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_message: String,
    /// Generation of the spec that was seen last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Observations (contract v1beta1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Observations (contract v1beta2).
    #[serde(rename = "v1beta2Status", default, skip_serializing_if = "is_zero")]
    pub v1beta2_status: StandardConditions,
}
