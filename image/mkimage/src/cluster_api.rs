//! Adapts upstream's rendered Cluster API manifest to a plane without pods: webhooks are reached by URL on
//! loopback, the manager's rights go to its certificate's user, and what only a Deployment needs is left out.
//! It must never change a schema, a rule or a label: those are the contract with every provider and with clusterctl. Kinds get the
//! label that `clusterctl init` gives them: `clusterctl move` looks for it, and without it finds Clusters by their owned objects alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_norway::{Mapping, Value};

use crate::yaml;

/// Where PID 1 runs the manager's webhook server (DESIGN.md §1, ports).
const WEBHOOK_ORIGIN: &str = "https://127.0.0.1:9443";

/// The user in the manager's client certificate (DESIGN.md §1, identities).
const MANAGER_USER: &str = "bloomery:cluster-api";

/// Stands for the base64 CA bundle; `controllers apply` fills it in at every boot.
const CA_BUNDLE: &str = "${CA_BUNDLE}";

/// Kinds that exist for the Deployment and its certificates only; here PID 1 does their work.
const DROPPED_KINDS: [&str; 5] = ["Deployment", "Service", "Certificate", "Issuer", "ServiceAccount"];

/// The label of all that clusterctl installed.
const CLUSTERCTL_LABEL: &str = "clusterctl.cluster.x-k8s.io";

/// The annotation by which cert-manager would fill in CA bundles; it would be untrue here.
const INJECT_ANNOTATION: &str = "cert-manager.io/inject-ca-from";

/// The Go module's name, and where its version is pinned, below the repository.
const MODULE: &str = "sigs.k8s.io/cluster-api ";
const GO_MOD: &str = "image/controlplane/go.mod";

/// Cluster API's release, such as `v1.14.2`.
///
/// # Errors
/// When the pinned version cannot be read.
pub fn version(source: &Path) -> Result<String> {
    let text = fs::read_to_string(source.join(GO_MOD)).with_context(|| format!("failed to read {GO_MOD}"))?;
    let pinned =
        text.lines().find_map(|line| line.trim().trim_start_matches("require ").strip_prefix(MODULE));
    let version = pinned.and_then(|rest| rest.split_whitespace().next());
    version.map(str::to_owned).with_context(|| format!("{GO_MOD} requires no {MODULE}"))
}

/// What `clusterctl init` would have left for the core provider.
fn inventory(version: &str) -> String {
    format!(
        "---
apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3
kind: Provider
metadata:
  name: cluster-api
  namespace: capi-system
  labels:
    cluster.x-k8s.io/provider: cluster-api
    clusterctl.cluster.x-k8s.io: \"\"
    clusterctl.cluster.x-k8s.io/core: inventory
providerName: cluster-api
type: CoreProvider
version: {version}
"
    )
}

/// Returns the adapted manifest as multi-document YAML, with the entry of clusterctl's inventory for this version.
///
/// # Errors
/// When the text is not YAML, or upstream's layout changed so that a webhook, a subject or the CRDs are not
/// where they were: an image with a manager that nobody can call must not be built.
pub fn adapt(rendered: &str, version: &str) -> Result<String> {
    let mut adapted = Vec::new();
    let mut crds = 0;
    for (index, mut value) in yaml::documents(rendered)?.into_iter().enumerate() {
        let Some(kind) = yaml::text(&value, &["kind"]).map(str::to_owned) else { continue };
        if DROPPED_KINDS.contains(&kind.as_str()) {
            continue;
        }
        adapt_object(&kind, &mut value)
            .with_context(|| format!("failed to adapt object {index} ({kind})"))?;
        crds += usize::from(kind == "CustomResourceDefinition");
        adapted.push(value);
    }
    ensure!(crds > 0, "the Cluster API manifest holds no CustomResourceDefinition");
    Ok(yaml::text_of(&adapted)? + &inventory(version))
}

fn adapt_object(kind: &str, value: &mut Value) -> Result<()> {
    if let Some(annotations) = yaml::at(value, &["metadata", "annotations"]).and_then(Value::as_mapping_mut) {
        annotations.remove(INJECT_ANNOTATION);
    }
    match kind {
        "CustomResourceDefinition" => {
            let metadata = yaml::at(value, &["metadata"]).and_then(Value::as_mapping_mut);
            let labels = metadata.context("it has no metadata")?.entry("labels".into());
            let labels = labels.or_insert_with(|| Value::Mapping(Mapping::new())).as_mapping_mut();
            labels.context("its labels are none")?.insert(CLUSTERCTL_LABEL.into(), "".into());
            // Kinds with a single version have no conversion webhook.
            if let Some(config) = yaml::at(value, &["spec", "conversion", "webhook", "clientConfig"]) {
                reach_by_url(config)?;
            }
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            let webhooks = value
                .get_mut("webhooks")
                .and_then(Value::as_sequence_mut)
                .filter(|webhooks| !webhooks.is_empty())
                .context("it lists no webhooks")?;
            for webhook in webhooks {
                reach_by_url(webhook.get_mut("clientConfig").context("a webhook has no clientConfig")?)?;
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let subjects = value.get_mut("subjects").context("it has no subjects")?;
            *subjects = Value::Sequence(vec![user_subject()]);
        }
        _ => {}
    }
    Ok(())
}

/// Replaces `service: {path}` by the same path on loopback.
fn reach_by_url(client_config: &mut Value) -> Result<()> {
    let Some(path) = client_config.get("service").and_then(|s| s.get("path")).and_then(Value::as_str) else {
        bail!("a webhook has no service path");
    };
    let mut config = Mapping::new();
    config.insert("url".into(), format!("{WEBHOOK_ORIGIN}{path}").into());
    config.insert("caBundle".into(), CA_BUNDLE.into());
    *client_config = Value::Mapping(config);
    Ok(())
}

fn user_subject() -> Value {
    let fields = [("apiGroup", "rbac.authorization.k8s.io"), ("kind", "User"), ("name", MANAGER_USER)];
    Value::Mapping(fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusters.cluster.x-k8s.io
  annotations: {cert-manager.io/inject-ca-from: capi-system/capi-serving-cert, kept: 'yes'}
spec:
  conversion:
    strategy: Webhook
    webhook:
      clientConfig: {service: {name: s, namespace: n, path: /convert}}
      conversionReviewVersions: [v1]
---
kind: Deployment
metadata: {name: capi-controller-manager}
---
kind: ClusterRoleBinding
metadata: {name: b}
subjects: [{kind: ServiceAccount, name: capi-manager, namespace: capi-system}]
---
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a
  clientConfig: {service: {name: s, namespace: n, path: /validate-a}}
";

    #[test]
    fn reaches_webhooks_by_url_and_binds_the_user() {
        let adapted = adapt(RENDERED, "v1.2.3").unwrap();
        assert!(adapted.contains("version: v1.2.3"), "{adapted}");
        assert!(adapted.contains("url: https://127.0.0.1:9443/convert"), "{adapted}");
        assert!(adapted.contains("labels:\n    clusterctl.cluster.x-k8s.io: ''"), "{adapted}");
        assert!(adapted.contains("url: https://127.0.0.1:9443/validate-a"), "{adapted}");
        assert!(adapted.contains("name: bloomery:cluster-api"), "{adapted}");
        assert!(adapted.contains("kept: "), "{adapted}");
        for gone in ["Deployment", "service:", "cert-manager", "ServiceAccount"] {
            assert!(!adapted.contains(gone), "{gone} is still in\n{adapted}");
        }
    }

    #[test]
    fn refuses_a_webhook_without_a_path() {
        let broken = RENDERED.replace("path: /validate-a", "port: 443");
        assert!(adapt(&broken, "v1.2.3").is_err());
    }

    #[test]
    fn refuses_a_manifest_without_kinds() {
        assert!(adapt("kind: Namespace\nmetadata: {name: x}\n", "v1.2.3").is_err());
        assert!(adapt("{", "v1.2.3").is_err());
    }
}
