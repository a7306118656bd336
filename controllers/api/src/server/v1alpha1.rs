//! Server v1alpha1: the older served version, which knows one processor and no disks.
//!
//! Never stored: conversion to v1alpha2 happens at the door.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bmc, ManagementApi, ServerStatus};
use crate::patch::ConfigPatch;
use crate::{schema, zero::is_zero};

/// What is wanted of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha1",
    kind = "Server",
    plural = "servers",
    doc = "Server is one machine, named by its SMBIOS UUID.",
    status = "ServerStatus",
    shortname = "srv",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Hostname",
        type_ = "string",
        json_path = ".spec.hostname",
        description = "host name the machine had when it registered"
    ),
    printcolumn(
        name = "BMC IP",
        type_ = "string",
        json_path = ".spec.bmc.endpoint",
        description = "address of the management controller",
        priority = 1
    ),
    printcolumn(
        name = "Accepted",
        type_ = "boolean",
        json_path = ".spec.accepted",
        description = "whether the machine may be written to"
    ),
    printcolumn(
        name = "Cordoned",
        type_ = "boolean",
        json_path = ".spec.cordoned",
        description = "whether the machine is kept out of every class"
    ),
    printcolumn(
        name = "Allocated",
        type_ = "boolean",
        json_path = ".status.inUse",
        description = "whether the machine is bound to a cluster"
    ),
    printcolumn(
        name = "Clean",
        type_ = "boolean",
        json_path = ".status.isClean",
        description = "whether the disks are known to be wiped"
    ),
    printcolumn(
        name = "Disks",
        type_ = "string",
        json_path = ".status.contents",
        description = "what the disks held when the machine reported last"
    ),
    printcolumn(
        name = "Conflict",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"IdentityConflict\")].reason",
        description = "set while another Server or machine shares an identity with this one"
    ),
    printcolumn(
        name = "Power",
        type_ = "string",
        json_path = ".status.power",
        description = "last known power state"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Reference to the Environment to boot when bound; only the name counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub environment_ref: Option<ObjectReference>,
    /// SMBIOS type 1, as taken at registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemInformation>,
    /// The first processor, as taken at registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuInformation>,
    /// Host name at registration; informational only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hostname: String,
    /// How to reach the baseboard management controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Bmc>,
    /// How to reach a plain HTTP power API; ignored if `bmc` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_api: Option<ManagementApi>,
    /// RFC 6902 patches of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config_patches: Vec<ConfigPatch>,
    /// Whether the machine may be written to. Nothing is ever written before.
    pub accepted: bool,
    /// Keeps the machine out of every class.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cordoned: bool,
    /// Boots the Environment every time, never the local disk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pxe_boot_always: bool,
    /// How to boot from disk: ipxe-exit, http-404 or ipxe-sanboot; empty for the default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub boot_from_disk_method: String,
    /// How the management controller is told to netboot: uefi or bios; empty for the default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pxe_mode: String,
}

/// The system as SMBIOS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInformation {
    /// Manufacturer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub manufacturer: String,
    /// Product name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub product_name: String,
    /// Version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub serial_number: String,
    /// Stock keeping unit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sku_number: String,
    /// Product family.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub family: String,
}

/// One processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuInformation {
    /// Manufacturer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub manufacturer: String,
    /// Version, which v1alpha2 calls the product name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
}
