//! MetalCluster: the infrastructure of a cluster, which is an endpoint that its user supplies (storage version v1alpha3).

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::contract::{ApiEndpoint, FailureDomain, InfrastructureInitialization, StandardConditions};
use crate::schema::{self, AGE, CLUSTER, Column, column};
use crate::zero::is_zero;

/// Keeps a MetalCluster until its controller has seen its deletion.
pub const FINALIZER: &str = "metalcluster.infrastructure.cluster.x-k8s.io";

/// Failure domains of one cluster, by contract v1beta2.
pub const MOST_FAILURE_DOMAINS: u32 = 100;

/// Columns of the stored version; the older one has none.
pub(crate) const COLUMNS: [Column; 4] = [
    CLUSTER,
    column("Ready", "boolean", ".status.ready", "whether machines can be made"),
    column("Endpoint", "string", ".spec.controlPlaneEndpoint.host", "where the control plane is reached")
        .wide(),
    AGE,
];

/// What is wanted of the infrastructure of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
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
    /// Where the control plane is reached. The user supplies it; nothing is made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// Key of a label of Servers whose value is the failure domain of the machine. Without it there are no failure
    /// domains.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(max = 317))]
    pub failure_domain_label: String,
}

/// What is known of the infrastructure of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalClusterStatus {
    /// Whether machines can be made (contract v1beta1).
    #[serde(default)]
    pub ready: bool,
    /// Whether machines can be made (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initialization: InfrastructureInitialization,
    /// The values of the label that the spec names, of all accepted Servers.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "failure_domains")]
    pub failure_domains: Vec<FailureDomain>,
    /// Why the cluster cannot go on, as one word. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_reason: String,
    /// Why the cluster cannot go on. Never written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_message: String,
    /// Observations (contract v1beta1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conditions: Vec<Condition>,
    /// Observations (contract v1beta2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub v1beta2: StandardConditions,
}

fn failure_domains(generator: &mut SchemaGenerator) -> Schema {
    schema::keyed_list::<FailureDomain>(generator, "name", MOST_FAILURE_DOMAINS)
}
