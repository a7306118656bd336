//! ServerBinding: the claim of a MetalMachine on the Server of the same name.
//!
//! Never created for a machine without a claim: its existence alone protects the machine's disks.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::schema::{self, AGE, Column, column};
use crate::zero::is_zero;

/// Ours, on every binding: its deletion is recorded on the Server before it goes. A binding that vanishes without
/// that was lost, not released.
pub const RELEASE_FINALIZER: &str = "bloomery.dev/release";
/// Condition: the node system confirmed that it is installed.
pub const TALOS_INSTALLED: &str = "TalosInstalled";
/// Condition: the node system loaded its configuration.
pub const TALOS_CONFIG_LOADED: &str = "TalosConfigLoaded";
/// Condition: the node system found its configuration valid.
pub const TALOS_CONFIG_VALIDATED: &str = "TalosConfigValidated";

/// What `kubectl get` shows before the age.
pub(crate) const COLUMNS: [Column; 6] = [
    column("Ready", "string", ".status.ready", "whether the Server exists"),
    column("Server", "string", ".metadata.name", "the Server claimed").wide(),
    column("ServerClass", "string", ".spec.serverClassRef.name", "the class the Server was taken from")
        .wide(),
    column("MetalMachine", "string", ".spec.metalMachineRef.name", "the machine that claims").wide(),
    column(
        "Cluster",
        "string",
        ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name",
        "the cluster of that machine",
    )
    .wide(),
    AGE,
];

/// Who claims the Server, and what its node said of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "ServerBinding",
    plural = "serverbindings",
    doc = "ServerBinding is the claim of a MetalMachine on the Server of the same name.",
    status = "ServerBindingStatus",
    shortname = "srvb",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServerBindingSpec {
    /// The class the Server was taken from, if from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub server_class_ref: Option<ObjectReference>,
    /// The machine that claims the Server.
    #[schemars(schema_with = "schema::object_reference")]
    pub metal_machine_ref: ObjectReference,
    /// The node's end of its management tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siderolink: Option<SideroLink>,
    /// Addresses the node announced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub addresses: Vec<String>,
    /// Host name the node announced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hostname: String,
}

/// One end of a management tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideroLink {
    /// Address of the node in the tunnel, with its prefix length.
    pub address: String,
    /// WireGuard public key of the node, base64.
    pub public_key: String,
}

/// What is known of the claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerBindingStatus {
    /// Whether the Server exists.
    #[serde(default)]
    pub ready: bool,
    /// Observations of the machine's configuration and of the node's installation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// The boot that may have the machine configuration. The boot services write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

/// The boot that may have the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// Names the boot. Its token cannot be made from it.
    pub id: String,
    /// Epoch of the plane that gave the boot script.
    pub epoch: i64,
    /// Network card that the script was given to; empty behind a router.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub card: String,
    /// When the script was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_at: Option<Time>,
    /// When a configuration that the machine can use was delivered in full for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
}
