//! TalosConfig v1alpha2: the oldest served version, without patches.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::zero::is_zero;

/// How a machine configuration is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1alpha2",
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
    /// Type of the machine: controlplane, worker, init, or none for the configuration in `data`.
    pub generate_type: String,
    /// The whole machine configuration, for the type none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub data: String,
}

/// What is known of a machine configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosConfigStatus {
    /// Whether the configuration was made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready: bool,
    /// The configuration, base64. Never written: newer versions have it in a Secret.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bootstrap_data: String,
    /// A client configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub talos_config: String,
    /// Why it cannot go on, as one word.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error_reason: String,
    /// Why it cannot go on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error_message: String,
}
