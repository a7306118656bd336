//! ServerClass: a named set of machines, by hardware and labels (storage version v1alpha2).
//!
//! Never lists Servers by itself: membership is a function in `matching`.

pub mod matching;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hardware::HardwareInformation;
use crate::patch::ConfigPatch;
use crate::schema::{self, AGE, Column, column};
use crate::zero::{is_zero, left_out_when_zero};

/// The class that every accepted machine belongs to; it always exists.
pub const ANY: &str = "any";

/// What `kubectl get` shows before the age.
pub(crate) const COLUMNS: [Column; 3] = [
    column("Available", "string", ".status.serversAvailable", "members that are not bound"),
    column("In Use", "string", ".status.serversInUse", "members that are bound"),
    AGE,
];

/// Which machines belong to the class, and what they are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "ServerClass",
    plural = "serverclasses",
    doc = "ServerClass is a set of machines, chosen by hardware and labels.",
    status = "ServerClassStatus",
    shortname = "srvc",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServerClassSpec {
    /// Reference to the Environment that members boot; only the name counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_reference")]
    pub environment_ref: Option<ObjectReference>,
    /// What the hardware and the labels must be.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qualifiers: Qualifiers,
    /// What the labels must be; an empty selector matches all.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
    /// RFC 6902 patches of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config_patches: Vec<ConfigPatch>,
    /// Talos strategic merge patches (YAML or JSON text) of the machine configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strategic_patches: Vec<String>,
    /// How members boot from disk: ipxe-exit, http-404 or ipxe-sanboot; empty for the default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub boot_from_disk_method: String,
}

left_out_when_zero! {
    /// What a member must be. All lists that are not empty must agree.
    pub struct Qualifiers {
        /// Hardware; one entry that matches suffices.
        pub hardware: Vec<HardwareInformation>,
        /// Labels; any one key and value of any entry suffices.
        pub label_selectors: Vec<BTreeMap<String, String>>,
    }
}

/// Members of the class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerClassStatus {
    /// Names of members that are not bound, sorted.
    pub servers_available: Vec<String>,
    /// Names of members that are bound, sorted.
    pub servers_in_use: Vec<String>,
}
