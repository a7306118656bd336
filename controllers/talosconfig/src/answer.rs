//! What the child answers.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The library and what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Release of Talos that the library belongs to: `v1.13.9`.
    pub machinery: String,
    /// The newest version contract that it knows: `v1.13`. A newer one gets what this one gets.
    pub contract: String,
    /// The Kubernetes version of a configuration that asks for none: `1.36.3`.
    pub kubernetes: String,
}

/// A certificate, and its key where it is known; both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// Certificate.
    pub crt: String,
    /// Key.
    #[serde(default)]
    pub key: Secret,
}

/// The authorities in a secrets bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsCas {
    /// Of the Talos API.
    #[serde(rename = "talosCA")]
    pub talos: Option<KeyPair>,
    /// Of the Kubernetes API: `<cluster>-ca`.
    #[serde(rename = "kubernetesCA")]
    pub kubernetes: Option<KeyPair>,
}

/// What a configuration that a user wrote says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspected {
    /// `controlplane`, `init`, `worker` or `unknown`.
    #[serde(rename = "type")]
    pub machine_type: String,
    /// Name of the cluster.
    pub cluster: String,
    /// URL of the control plane; empty if there is none.
    pub endpoint: String,
    /// The token that machines join with (trustd).
    pub token: Secret,
    /// Of the Talos API; a worker has no key.
    #[serde(rename = "talosCA")]
    pub talos_ca: Option<KeyPair>,
    /// Of the Kubernetes API; a worker has no key.
    #[serde(rename = "kubernetesCA")]
    pub kubernetes_ca: Option<KeyPair>,
    /// All secrets as a bundle, where the key of the Talos API's authority is known.
    #[serde(default)]
    pub bundle: Secret,
    /// `v1alpha1` for the document without a kind, else kind, and name where it has one: `KmsgLogConfig/remote-log`.
    pub documents: Vec<String>,
}

/// What Talos thinks of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Validation {
    /// A machine would take it.
    pub valid: bool,
    /// Why not.
    pub errors: Vec<String>,
    /// What it would say about it.
    pub warnings: Vec<String>,
    /// Why the text is no configuration at all; the lists are empty then.
    #[serde(default)]
    pub load_error: String,
}

/// A client certificate of the Talos API, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// Certificate of the authority.
    pub ca: String,
    /// Certificate.
    pub crt: String,
    /// Key.
    pub key: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bundle {
    pub(crate) bundle: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) config: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Talosconfig {
    pub(crate) talosconfig: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kubeconfig {
    pub(crate) kubeconfig: Secret,
}
