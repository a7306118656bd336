//! Parts of Cluster API's contracts v1beta1 and v1beta2 that several kinds share, and the two kinds of Cluster API that
//! are read: Cluster and Machine.
//!
//! Source: the contract chapters of the Cluster API book, v1.14.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as StandardCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{schema, zero::is_zero};

/// Group of Cluster and Machine.
pub const CLUSTER_GROUP: &str = "cluster.x-k8s.io";
/// Label of the machines of a control plane, without a value.
pub const CONTROL_PLANE_LABEL: &str = "cluster.x-k8s.io/control-plane";
/// Label that names the Cluster of an object, in the object's namespace.
pub const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";
/// Condition that sums up an object.
pub const READY: &str = "Ready";
/// Condition of contract v1beta2: whether the object is paused.
pub const PAUSED: &str = "Paused";

/// Where a control plane is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiEndpoint {
    /// Address or host name.
    #[schemars(length(max = 512))]
    pub host: String,
    /// TCP port.
    pub port: i32,
}

/// An address of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineAddress {
    /// Hostname, ExternalIP, InternalIP, ExternalDNS or InternalDNS.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::machine_address_type")]
    pub type_: String,
    /// The address.
    #[schemars(length(min = 1, max = 256))]
    pub address: String,
}

impl MachineAddress {
    /// Type of an address that is reached inside of the machines' network.
    pub const INTERNAL_IP: &str = "InternalIP";
    /// Type of an address that is reached from outside.
    pub const EXTERNAL_IP: &str = "ExternalIP";
    /// Type of a host name.
    pub const HOSTNAME: &str = "Hostname";
}

/// A part of the site that fails as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Whether control planes may be put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<bool>,
    /// Further properties.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attributes: BTreeMap<String, String>,
}

/// How far the infrastructure is, by contract v1beta2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InfrastructureInitialization {
    /// Whether the infrastructure was provisioned. It never goes back to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}

/// Conditions in the form of contract v1beta2, beside those of v1beta1. Cluster API reads these first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StandardConditions {
    /// The conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::standard_conditions")]
    pub conditions: Vec<StandardCondition>,
}

/// Labels and annotations of objects that are made of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateMeta {
    /// Labels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
}

/// A reference of contract v1beta2: the version is found by the contract label of the kind's definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractReference {
    /// API group.
    #[schemars(length(min = 1, max = 253))]
    pub api_group: String,
    /// Kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name, in the namespace of the object that refers to it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What is read of a Cluster. The definition is Cluster API's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Cluster",
    namespaced,
    schema = "disabled",
    status = "ClusterStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Whether nothing of the cluster may be touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Where the control plane is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<PartialEndpoint>,
    /// The object that stands for the infrastructure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractReference>,
    /// The object that stands for the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<ContractReference>,
    /// Networks inside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_network: Option<ClusterNetwork>,
}

/// Networks inside of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetwork {
    /// Of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NetworkRanges>,
    /// Of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkRanges>,
    /// Domain of services.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub service_domain: String,
}

/// Ranges of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRanges {
    /// Each as address and length of the prefix. An empty list is one, too.
    #[serde(default)]
    pub cidr_blocks: Vec<String>,
}

/// An endpoint that may not be complete yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialEndpoint {
    /// Address or host name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host: String,
    /// TCP port.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: i32,
}

/// What is read of a Cluster's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// How far the cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitialization>,
    /// The parts of the site that fail as a whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_domains: Vec<FailureDomain>,
}

/// How far a Cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitialization {
    /// Whether the infrastructure of the cluster is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// Whether the API server of the cluster ever answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

impl Cluster {
    /// Whether the API server of the cluster ever answered.
    pub fn has_control_plane(&self) -> bool {
        let initialization = self.status.as_ref().and_then(|status| status.initialization.as_ref());
        initialization.and_then(|initialization| initialization.control_plane_initialized) == Some(true)
    }

    /// Where the control plane is reached, once host and port are known.
    pub fn endpoint(&self) -> Option<&PartialEndpoint> {
        let endpoint = self.spec.control_plane_endpoint.as_ref();
        endpoint.filter(|endpoint| !endpoint.host.is_empty() && endpoint.port > 0)
    }

    /// Whether the infrastructure of the cluster is there.
    pub fn has_infrastructure(&self) -> bool {
        let initialization = self.status.as_ref().and_then(|status| status.initialization.as_ref());
        initialization.and_then(|initialization| initialization.infrastructure_provisioned) == Some(true)
    }
}

/// What is read of a Machine. The definition is Cluster API's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Machine",
    namespaced,
    schema = "disabled",
    status = "MachineStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Name of the Cluster.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cluster_name: String,
    /// Where the machine configuration comes from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bootstrap: MachineBootstrap,
    /// Kubernetes version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// What the infrastructure calls the machine; set once there is one.
    #[serde(rename = "providerID", default, skip_serializing_if = "is_zero")]
    pub provider_id: String,
    /// Seconds for which its node must be ready to be available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// Conditions that it must have to be ready, as they stand.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub readiness_gates: Value,
    /// How long its deletion waits for what, as it stands.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub deletion: Value,
    /// Taints of its node, as they stand.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub taints: Value,
    /// The failure domain that the machine must be in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_domain: String,
    /// The object that stands for the infrastructure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractReference>,
}

/// What is read of a Machine's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Its node in the workload cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<NodeReference>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub addresses: Vec<MachineAddress>,
    /// Observations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<StandardCondition>,
}

/// A node of a workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReference {
    /// Its name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub name: String,
}

impl Machine {
    /// Name of its node, once it has one.
    pub fn node(&self) -> Option<&str> {
        let node = self.status.as_ref()?.node_ref.as_ref()?;
        Some(node.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Its addresses of that type.
    pub fn addresses<'a>(&'a self, type_: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.status.iter().flat_map(|status| &status.addresses);
        all.filter(move |address| address.type_ == type_).map(|address| address.address.as_str())
    }

    /// What it says of itself under that name.
    pub fn condition(&self, type_: &str) -> Option<&StandardCondition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// Where a machine configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineBootstrap {
    /// The object that the configuration is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ContractReference>,
    /// Name of the Secret with the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
}

/// What is read of a MachinePool. The definition is Cluster API's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachinePool",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MachinePoolSpec {
    /// Name of the Cluster.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cluster_name: String,
    /// What its machines are like.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub template: MachineTemplateSpec,
}

/// What machines are like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineTemplateSpec {
    /// As each has it.
    #[serde(default)]
    pub spec: MachineSpec,
}

/// True when a reference names the object of that name in that namespace; a reference to a namespaced object always has
/// both.
pub fn refers_to(reference: &ObjectReference, namespace: &str, name: &str) -> bool {
    reference.namespace.as_deref() == Some(namespace) && reference.name.as_deref() == Some(name)
}
