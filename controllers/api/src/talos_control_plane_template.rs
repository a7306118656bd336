//! TalosControlPlaneTemplate: what the TalosControlPlanes of a ClusterClass are made of (storage version v1alpha3).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::TemplateMeta;
use crate::schema::{AGE, CLUSTER_CLASS, Column};
use crate::talos_control_plane::{
    ControlPlaneConfig, MachineNamingStrategy, MachineTemplate, RolloutStrategy,
};
use crate::zero::is_zero;

/// Columns of all versions.
pub(crate) const COLUMNS: [Column; 2] = [CLUSTER_CLASS, AGE];

/// What TalosControlPlanes are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "TalosControlPlaneTemplate",
    plural = "taloscontrolplanetemplates",
    namespaced,
    doc = "TalosControlPlaneTemplate is what the TalosControlPlanes of a ClusterClass are made of.",
    status = "TalosControlPlaneTemplateStatus",
    shortname = "tcpt",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
pub struct TalosControlPlaneTemplateSpec {
    /// The template.
    pub template: TalosControlPlaneTemplateResource,
}

/// The template of a TalosControlPlane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TalosControlPlaneTemplateResource {
    /// Labels and annotations of each TalosControlPlane.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: TemplateMeta,
    /// The spec of each TalosControlPlane, without what the Cluster says: replicas, version and infrastructure.
    pub spec: TalosControlPlaneTemplateResourceSpec,
}

/// The spec of a TalosControlPlane, without what the Cluster says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TalosControlPlaneTemplateResourceSpec {
    /// What the machines are made of besides their infrastructure.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub machine_template: MachineTemplate,
    /// How machines are named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub machine_naming_strategy: MachineNamingStrategy,
    /// The machine configurations.
    pub control_plane_config: ControlPlaneConfig,
    /// How machines are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_strategy: Option<RolloutStrategy>,
}

/// Nothing is known of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TalosControlPlaneTemplateStatus {}
