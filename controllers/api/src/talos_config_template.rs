//! TalosConfigTemplate: what TalosConfigs are made of (storage version v1alpha3).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{AGE, CLUSTER_CLASS, Column, column};
use crate::talos_config::TalosConfigSpec;

/// Columns of v1beta1; the other versions have none.
pub(crate) const COLUMNS_V1BETA1: [Column; 3] = [
    CLUSTER_CLASS,
    column("Cluster", "string", ".metadata.ownerReferences[?(@.kind==\"Cluster\")].name", "the cluster"),
    AGE,
];

/// What TalosConfigs are made of. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "TalosConfigTemplate",
    plural = "talosconfigtemplates",
    namespaced,
    doc = "TalosConfigTemplate is what TalosConfigs are made of.",
    status = "TalosConfigTemplateStatus",
    category = "cluster-api",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
pub struct TalosConfigTemplateSpec {
    /// The template.
    pub template: TalosConfigTemplateResource,
}

/// The template of a TalosConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TalosConfigTemplateResource {
    /// The spec of each TalosConfig.
    pub spec: TalosConfigSpec,
}

/// Nothing is known of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TalosConfigTemplateStatus {}
