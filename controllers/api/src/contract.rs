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

use crate::{schema, zero::is_zero};

/// Group of Cluster and Machine.
pub const CLUSTER_GROUP: &str = "cluster.x-k8s.io";
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
pub struct ClusterStatus {
    /// How far the cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitialization>,
}

/// How far a Cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitialization {
    /// Whether the infrastructure of the cluster is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
}

impl Cluster {
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
    /// The failure domain that the machine must be in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_domain: String,
    /// The object that stands for the infrastructure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractReference>,
}

/// Where a machine configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineBootstrap {
    /// Name of the Secret with the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
}

/// True when a reference names the object of that name in that namespace; a reference to a namespaced object always has
/// both.
pub fn refers_to(reference: &ObjectReference, namespace: &str, name: &str) -> bool {
    reference.namespace.as_deref() == Some(namespace) && reference.name.as_deref() == Some(name)
}
