//! TalosConfigTemplate v1beta1: a further served version, alike but for the types that it takes.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TalosConfigTemplateStatus;
use crate::talos_config::v1beta1::TalosConfigSpec;

/// What TalosConfigs are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta1",
    kind = "TalosConfigTemplate",
    plural = "talosconfigtemplates",
    namespaced,
    doc = "TalosConfigTemplate is what TalosConfigs are made of.",
    status = "TalosConfigTemplateStatus",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "ClusterClass",
        type_ = "string",
        json_path = ".metadata.ownerReferences[?(@.kind==\"ClusterClass\")].name",
        description = "the ClusterClass"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.ownerReferences[?(@.kind==\"Cluster\")].name",
        description = "the cluster"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct TalosConfigTemplateSpec {
    /// The template.
    pub template: TalosConfigTemplateResource,
}

/// The template of a TalosConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TalosConfigTemplateResource {
    /// The spec of each TalosConfig.
    pub spec: TalosConfigSpec,
}
