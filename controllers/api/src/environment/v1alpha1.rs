//! Environment v1alpha1: the older served version, of the same shape.
//!
//! Never stored: conversion to v1alpha2 happens at the door.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EnvironmentStatus, Initrd, Kernel};
use crate::zero::is_zero;

/// Where kernel and initramfs come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha1",
    kind = "Environment",
    plural = "environments",
    doc = "Environment is a kernel and an initramfs that machines boot from the network.",
    status = "EnvironmentStatus",
    shortname = "env",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Kernel",
        type_ = "string",
        json_path = ".spec.kernel.url",
        description = "where the kernel comes from"
    ),
    printcolumn(
        name = "Initrd",
        type_ = "string",
        json_path = ".spec.initrd.url",
        description = "where the initramfs comes from"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "whether the assets are here"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSpec {
    /// Kernel.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kernel: Kernel,
    /// Initial RAM disk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initrd: Initrd,
}
