//! What is asked, as the child reads it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::secret::Secret;

/// The secrets of a cluster, as the Secret `<cluster>-talos` holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum SecretsBundle {
    /// Key `bundle`; also what `talosctl gen secrets` writes.
    Bundle {
        /// YAML.
        bundle: Secret,
    },
    /// Of old providers, in three keys. They know neither id nor secret of the cluster.
    Sections {
        /// Key `certs`, YAML.
        certs: Secret,
        /// Key `kubeSecrets`, YAML.
        kube_secrets: Secret,
        /// Key `trustdInfo`, YAML.
        trustd_info: Secret,
    },
}

impl From<Secret> for SecretsBundle {
    fn from(bundle: Secret) -> Self {
        Self::Bundle { bundle }
    }
}

/// A change of a configuration. `Debug` shows no values: there may be secrets among them.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Patch {
    /// A list of operations (RFC 6902). It needs a configuration of one document.
    Json6902(Value),
    /// Documents to merge; a text that is a list of operations, or empty, counts as [`Self::Json6902`], as upstream has it.
    Strategic(Secret),
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json6902(list) => {
                write!(f, "Json6902({} operations)", list.as_array().map_or(0, Vec::len))
            }
            Self::Strategic(text) => f.debug_tuple("Strategic").field(text).finish(),
        }
    }
}

impl Patch {
    /// A strategic merge patch.
    pub fn strategic(text: impl Into<Secret>) -> Self {
        Self::Strategic(text.into())
    }
}

/// A configuration to be generated, as the bootstrap provider does it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generate {
    /// `init`, `controlplane`, `worker`; `join` and the empty text are `worker`.
    #[serde(rename = "type")]
    pub generate_type: String,
    /// Name of the cluster.
    pub cluster: String,
    /// URL of the control plane; see [`endpoint`].
    pub endpoint: String,
    /// With or without `v`; if empty, the library's newest.
    pub kubernetes_version: String,
    /// The version contract: `v1.13`, `1.13.2`. If empty, the library's newest, and so for versions that it does not know yet.
    pub talos_version: String,
    /// Secrets of the cluster.
    pub secrets: SecretsBundle,
    /// Domain of services; if empty, `cluster.local`.
    pub dns_domain: String,
    /// In place of the default; an empty list leaves none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_subnets: Option<Vec<String>>,
    /// In place of the default; an empty list leaves none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_subnets: Option<Vec<String>>,
    /// What the installer is told.
    pub install: Install,
    /// A static host name, which wins over the patches. With contracts from 1.12 on it is the document `HostnameConfig`, before
    /// them `machine.network.hostname`. An empty one adds an empty section `machine.network` and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// In this order.
    pub patches: Vec<Patch>,
}

/// What the installer is told: by default nothing, and a patch has to name the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Install {
    /// Device, such as `/dev/sda`; if empty, none.
    pub disk: String,
    /// Image of the installer; if empty, the library's default.
    pub image: String,
}

impl Generate {
    /// With the library's newest versions, its defaults and no patches.
    pub fn new(
        generate_type: impl Into<String>,
        cluster: impl Into<String>,
        endpoint: impl Into<String>,
        secrets: SecretsBundle,
    ) -> Self {
        Self {
            generate_type: generate_type.into(),
            cluster: cluster.into(),
            endpoint: endpoint.into(),
            secrets,
            kubernetes_version: String::new(),
            talos_version: String::new(),
            dns_domain: String::new(),
            pod_subnets: None,
            service_subnets: None,
            install: Install::default(),
            hostname: None,
            patches: Vec::new(),
        }
    }
}

/// The URL of a control plane; an IPv6 address gets its brackets.
pub fn endpoint(host: &str, port: u16) -> String {
    if host.contains([':', '%']) {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}

/// As whom to judge a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As a node does.
    Node,
    /// As `talosctl validate` does.
    Talosctl,
    /// As `talosctl validate --strict` does: warnings are errors.
    Strict,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSecrets<'a> {
    pub(crate) talos_version: &'a str,
}

#[derive(Serialize)]
pub(crate) struct OfSecrets<'a> {
    pub(crate) secrets: &'a SecretsBundle,
}

#[derive(Serialize)]
pub(crate) struct PatchConfig<'a> {
    pub(crate) config: &'a Secret,
    pub(crate) strict: bool,
    pub(crate) patches: &'a [Patch],
}

#[derive(Serialize)]
pub(crate) struct OfConfig<'a> {
    pub(crate) config: &'a Secret,
}

#[derive(Serialize)]
pub(crate) struct Validate<'a> {
    pub(crate) config: &'a Secret,
    pub(crate) level: Level,
    pub(crate) mode: &'static str,
}

#[derive(Serialize)]
pub(crate) struct ForClient<'a> {
    pub(crate) secrets: &'a SecretsBundle,
    pub(crate) roles: &'a [&'a str],
    /// Seconds.
    pub(crate) ttl: u64,
}

#[derive(Serialize)]
pub(crate) struct Talosconfig<'a> {
    pub(crate) secrets: &'a SecretsBundle,
    pub(crate) cluster: &'a str,
    pub(crate) endpoints: &'a [String],
}

#[derive(Serialize)]
pub(crate) struct Kubeconfig<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) server: &'a str,
    pub(crate) ca: &'a crate::answer::KeyPair,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn endpoints_have_brackets_where_the_address_has_colons() {
        for (host, port, url) in [
            ("10.0.0.1", 6443, "https://10.0.0.1:6443"),
            ("fd00::50", 6443, "https://[fd00::50]:6443"),
            ("example.com", 443, "https://example.com:443"),
            ("", 0, "https://:0"),
        ] {
            assert_eq!(endpoint(host, port), url);
        }
    }

    #[test]
    fn requests_have_the_names_that_the_child_reads() {
        let request = Generate {
            pod_subnets: Some(Vec::new()),
            patches: vec![Patch::Json6902(json!([])), Patch::strategic("a: b")],
            ..Generate::new("worker", "c", "https://e", Secret::from("b").into())
        };
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({
                "type": "worker", "cluster": "c", "endpoint": "https://e", "kubernetesVersion": "", "talosVersion": "",
                "secrets": {"bundle": "b"}, "dnsDomain": "", "podSubnets": [], "install": {"disk": "", "image": ""},
                "patches": [{"json6902": []}, {"strategic": "a: b"}],
            })
        );
        let old =
            SecretsBundle::Sections { certs: "c".into(), kube_secrets: "k".into(), trustd_info: "t".into() };
        assert_eq!(
            serde_json::to_value(old).unwrap(),
            json!({"certs": "c", "kubeSecrets": "k", "trustdInfo": "t"})
        );
    }

    #[test]
    fn debug_tells_no_secret() {
        let request = Generate {
            patches: vec![Patch::strategic("hidden-patch"), Patch::Json6902(json!([{"value": "hidden"}]))],
            ..Generate::new("worker", "c", "e", Secret::from("hidden-bundle").into())
        };
        assert!(!format!("{request:?}").contains("hidden"));
    }
}
