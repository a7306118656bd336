//! TalosConfigTemplate v1alpha2: the oldest served version, without patches.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TalosConfigTemplateStatus;
use crate::talos_config::v1alpha2::TalosConfigSpec;

/// What TalosConfigs are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "TalosConfigTemplate",
    plural = "talosconfigtemplates",
    namespaced,
    doc = "TalosConfigTemplate is what TalosConfigs are made of.",
    status = "TalosConfigTemplateStatus",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
pub struct TalosConfigTemplateSpec {
    /// The template.
    pub template: TalosConfigTemplateResource,
}

/// The template of a TalosConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TalosConfigTemplateResource {
    /// The spec of each TalosConfig.
    pub spec: TalosConfigSpec,
}
