//! MetalMachine: a machine of a cluster, which gets a Server (storage version v1alpha3).
//!
//! Never decides anything: see `infrastructure`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::contract::{InfrastructureInitialization, MachineAddress, StandardConditions};
use crate::schema::{self, AGE, CLUSTER, Column, column};
use crate::zero::is_zero;

/// Keeps a MetalMachine until its Server was let go.
pub const FINALIZER: &str = "metalmachine.infrastructure.cluster.x-k8s.io";
/// What a provider ID begins with; the Server's name follows.
pub const PROVIDER_ID_PREFIX: &str = "sidero://";
/// Condition: the node of the machine has the provider ID.
pub const PROVIDER_SET: &str = "ProviderSet";

/// The provider ID of the machine that has the Server of that name.
pub fn provider_id(server: &str) -> String {
    format!("{PROVIDER_ID_PREFIX}{server}")
}

/// Columns of the stored version; the older one has none.
pub(crate) const COLUMNS: [Column; 5] = [
    column("Ready", "string", ".status.ready", "whether the machine has a Server"),
    CLUSTER.wide(),
    column(
        "Machine",
        "string",
        ".metadata.ownerReferences[?(@.kind==\"Machine\")].name",
        "the Machine that this is the infrastructure of",
    )
    .wide(),
    column("Server", "string", ".spec.serverRef.name", "the Server").wide(),
    AGE,
];

/// Which Server a machine gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
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
    /// The Server: chosen by the user, or written once one of the class was allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub server_ref: Option<ObjectReference>,
    /// The class to take a Server from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub server_class_ref: Option<ObjectReference>,
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineStatus {
    /// Whether the machine has a Server (contract v1beta1).
    #[serde(default)]
    pub ready: bool,
    /// Whether the machine has a Server (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialization: InfrastructureInitialization,
    /// Addresses that its node announced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub addresses: Vec<MachineAddress>,
    /// The failure domain that the Server is in.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: String,
    /// Why the machine cannot go on, as one word. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_reason: String,
    /// Why the machine cannot go on. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_message: String,
    /// Observations (contract v1beta1), those of its ServerBinding among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Observations (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub v1beta2: StandardConditions,
}

impl MetalMachine {
    /// Name of the Server that it has or is to have.
    pub fn server_name(&self) -> Option<&str> {
        let name = self.spec.server_ref.as_ref().and_then(|server| server.name.as_deref());
        name.filter(|name| !name.is_empty())
    }
}
