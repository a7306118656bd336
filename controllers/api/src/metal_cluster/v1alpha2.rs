//! MetalCluster v1alpha2: the older served version, with a list of endpoints.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::ApiEndpoint;
use crate::zero::is_zero;

/// What is wanted of the infrastructure of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "MetalCluster",
    plural = "metalclusters",
    namespaced,
    doc = "MetalCluster is the infrastructure of a cluster of bare machines.",
    status = "MetalClusterStatus",
    shortname = "mtc",
    category = "cluster-api",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MetalClusterSpec {
    /// Where the control plane is reached; the first one counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub api_endpoints: Vec<ApiEndpoint>,
}

/// What is known of the infrastructure of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalClusterStatus {
    /// Whether machines can be made.
    #[serde(default)]
    pub ready: bool,
    /// Where the control plane is reached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub api_endpoints: Vec<ApiEndpoint>,
}
