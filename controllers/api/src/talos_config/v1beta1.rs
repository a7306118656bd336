//! TalosConfig v1beta1: a further served version, with the status of contract v1beta2.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as StandardCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HostnameSpec;
use crate::condition::Condition;
use crate::patch::ConfigPatch;
use crate::{schema, zero::is_zero};

/// How a machine configuration is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta1",
    kind = "TalosConfig",
    plural = "talosconfigs",
    namespaced,
    doc = "TalosConfig is how the machine configuration of a node is made.",
    status = "TalosConfigStatus",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name",
        description = "the cluster"
    ),
    printcolumn(
        name = "Initialized",
        type_ = "boolean",
        json_path = ".status.initialization.dataSecretCreated",
        description = "whether the configuration was made"
    ),
    printcolumn(
        name = "Bootstrap secret",
        type_ = "string",
        json_path = ".status.dataSecretName",
        description = "the Secret with the configuration"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigSpec {
    /// Talos version that the configuration is for, such as v1.13; empty for the newest that is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub talos_version: String,
    /// Type of the machine: controlplane, worker, init (deprecated), or none for the configuration in `data`.
    #[schemars(schema_with = "schema::generate_type")]
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

/// What is known of a machine configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigStatus {
    /// How far the configuration is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialization: TalosConfigInitialization,
    /// Name of the Secret with the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub data_secret_name: Option<String>,
    /// Generation of the spec that was seen last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Observations.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "schema::standard_conditions")]
    pub conditions: Vec<StandardCondition>,
    /// What the older contract has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deprecated: Deprecated,
}

/// How far a configuration is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigInitialization {
    /// Whether the Secret was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_created: Option<bool>,
}

/// What the older contract has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deprecated {
    /// Under the name that upstream gave it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub v1beta: DeprecatedStatus,
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
}
