//! MetalMachine v1alpha2: the older served version, without a class.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{schema, zero::is_zero};

/// Which Server a machine gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "MetalMachine",
    plural = "metalmachines",
    namespaced,
    doc = "MetalMachine is a machine of a cluster; it gets a Server.",
    status = "MetalMachineStatus",
    shortname = "mtm",
    category = "cluster-api",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineSpec {
    /// ID of the machine, `sidero://<server>`.
    #[serde(rename = "providerID", default, skip_serializing_if = "is_zero")]
    pub provider_id: String,
    /// The Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub server_ref: Option<ObjectReference>,
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineStatus {
    /// Whether the machine has a Server.
    #[serde(default)]
    pub ready: bool,
    /// Why the machine cannot go on, as one word.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error_reason: String,
    /// Why the machine cannot go on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error_message: String,
}
