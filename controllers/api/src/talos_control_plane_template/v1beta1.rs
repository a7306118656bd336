//! TalosControlPlaneTemplate v1beta1: alike, so that a ClusterClass makes TalosControlPlanes of v1beta1.
//!
//! Never stored: conversion to v1alpha3 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TalosControlPlaneTemplateResource, TalosControlPlaneTemplateStatus};

/// What TalosControlPlanes are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1beta1",
    kind = "TalosControlPlaneTemplate",
    plural = "taloscontrolplanetemplates",
    namespaced,
    doc = "TalosControlPlaneTemplate is what the TalosControlPlanes of a ClusterClass are made of.",
    status = "TalosControlPlaneTemplateStatus",
    shortname = "tcpt",
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct TalosControlPlaneTemplateSpec {
    /// The template.
    pub template: TalosControlPlaneTemplateResource,
}
