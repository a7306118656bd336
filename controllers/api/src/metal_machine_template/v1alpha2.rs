//! MetalMachineTemplate v1alpha2: the older served version, without a class.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MetalMachineTemplateStatus;
use crate::metal_machine::v1alpha2::MetalMachineSpec;

/// What MetalMachines are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
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
    derive = "PartialEq"
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
