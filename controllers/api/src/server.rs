//! Server: one machine, named by its SMBIOS UUID (storage version v1alpha2).
//!
//! Never decides anything: see `decision`.

use k8s_openapi::api::core::v1::{NodeAddress, ObjectReference};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::hardware::HardwareInformation;
use crate::patch::ConfigPatch;
use crate::schema::{self, AGE, Column, column};
use crate::zero::is_zero;

/// Keeps an allocated Server from disappearing.
pub const FINALIZER: &str = "storage.finalizers.server.k8s.io";
/// Label of ours: `arm64` on a machine that waited for an Environment as one.
pub const ARCH_LABEL: &str = "bloomery.dev/arch";
/// Condition: False while a power cycle into a wipe is under way, True once wiped.
pub const POWER_CYCLE: &str = "PowerCycle";
/// Condition of ours: how far the wipe is, or which disk could not be wiped and why.
pub const DISKS_WIPED: &str = "DisksWiped";
/// Condition of ours: why the management controller does not obey.
pub const POWER_REACHABLE: &str = "PowerReachable";
/// Condition: the node system confirmed that it is installed.
pub const PXE_BOOTED: &str = "PXEBooted";

/// What `kubectl get` shows before the age.
pub(crate) const COLUMNS: [Column; 10] = [
    column("Hostname", "string", ".spec.hostname", "host name the machine had when it registered"),
    column("BMC IP", "string", ".spec.bmc.endpoint", "address of the management controller").wide(),
    column("Accepted", "boolean", ".spec.accepted", "whether the machine may be written to"),
    column("Cordoned", "boolean", ".spec.cordoned", "whether the machine is kept out of every class"),
    column("Allocated", "boolean", ".status.inUse", "whether the machine is bound to a cluster"),
    column("Clean", "boolean", ".status.isClean", "whether the disks are known to be wiped"),
    column("Disks", "string", ".status.contents", "what the disks held when the machine reported last"),
    column(
        "Conflict",
        "string",
        ".status.conditions[?(@.type==\"IdentityConflict\")].reason",
        "set while another Server or machine shares an identity with this one",
    ),
    column("Power", "string", ".status.power", "last known power state"),
    AGE,
];

/// What is wanted of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "Server",
    plural = "servers",
    doc = "Server is one machine, named by its SMBIOS UUID.",
    status = "ServerStatus",
    shortname = "srv",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Reference to the Environment to boot when bound; only the name counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub environment_ref: Option<ObjectReference>,
    /// Inventory taken at registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareInformation>,
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
    /// Talos strategic merge patches (YAML or JSON text) of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strategic_patches: Vec<String>,
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

/// Access to a baseboard management controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bmc {
    /// Address or host name.
    pub endpoint: String,
    /// UDP port; 0 or absent for 623.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: i32,
    /// User name in plain text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: String,
    /// Source of the user name; cannot be used with `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_from: Option<CredentialSource>,
    /// Password in plain text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pass: String,
    /// Source of the password; cannot be used with `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_from: Option<CredentialSource>,
    /// Interface to speak, such as lanplus; empty for lanplus.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interface: String,
}

/// Where a credential comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key in the Secret.
    pub key: String,
}

/// Access to a plain HTTP power API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagementApi {
    /// Host and port.
    pub endpoint: String,
}

/// Power state as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// Running.
    On,
    /// Not running.
    Off,
    /// Nobody could tell.
    #[default]
    Unknown,
}

impl Power {
    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Whether the machine is accepted and can be used or is in use.
    #[serde(default)]
    pub ready: bool,
    /// Whether a ServerBinding of the same name exists.
    #[serde(default)]
    pub in_use: bool,
    /// Whether the disks are known to be wiped.
    #[serde(default)]
    pub is_clean: bool,
    /// Observations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Addresses the machine reported.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub addresses: Vec<NodeAddress>,
    /// Power state: on, off or unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub power: String,
    /// What the disks held when the machine reported last: blank, data, system or unknown, and what was found.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub contents: String,
}
