//! The Secrets of a cluster: their names, their labels, to whom they belong.
//!
//! Never takes a Secret over that another object controls, and never takes what an earlier cluster or machine of the same
//! name left for its own: it goes with its owner.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};

use crate::contract::{CLUSTER_LABEL, Cluster};
use crate::talos_config::TalosConfig;

/// Key of the secrets of a cluster.
pub const BUNDLE_KEY: &str = "bundle";
/// Keys of the secrets of a cluster that an old release made, each the text of one section.
pub const SECTION_KEYS: [&str; 3] = ["certs", "kubeSecrets", "trustdInfo"];
/// Key of a machine configuration.
pub const DATA_KEY: &str = "value";
/// Key of a client configuration.
pub const TALOSCONFIG_KEY: &str = "talosconfig";
/// Keys of the Kubernetes API's authority.
pub const CA_KEYS: [&str; 2] = ["tls.crt", "tls.key"];

/// The Secret with the secrets of a cluster.
pub fn bundle_name(cluster: &str) -> String {
    format!("{cluster}-talos")
}

/// The Secret with the authority of a cluster's Kubernetes API, under the name that Cluster API has for it.
pub fn ca_name(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// The Secret with an administrator's client configuration of the Talos API.
pub fn talosconfig_name(cluster: &str) -> String {
    format!("{cluster}-talosconfig")
}

/// The Secret with the configuration of a Machine or of all machines of a pool.
pub fn data_secret_name(owner: &str) -> String {
    format!("{owner}-bootstrap-data")
}

/// The object that a Secret goes with.
#[derive(Clone, Debug, PartialEq)]
pub struct Keeper<'a> {
    /// Name of the cluster, for the label.
    pub cluster: &'a str,
    /// The reference to the object.
    pub reference: OwnerReference,
}

impl<'a> Keeper<'a> {
    /// What the machines of a cluster share goes with the Cluster: with the first machine it would be lost.
    pub fn cluster(cluster: &'a Cluster) -> Self {
        Self {
            cluster: cluster.metadata.name.as_deref().unwrap_or_default(),
            reference: reference::<Cluster>(&cluster.metadata),
        }
    }

    /// A machine configuration goes with its TalosConfig.
    pub fn config(config: &TalosConfig, cluster: &'a Cluster) -> Self {
        Self {
            cluster: cluster.metadata.name.as_deref().unwrap_or_default(),
            reference: reference::<TalosConfig>(&config.metadata),
        }
    }

    /// A new Secret.
    pub fn secret<'d>(
        &self,
        namespace: &str,
        name: String,
        data: impl IntoIterator<Item = (&'static str, &'d str)>,
    ) -> Secret {
        let data: BTreeMap<String, ByteString> = data
            .into_iter()
            .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())))
            .collect();
        Secret {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                labels: Some([(CLUSTER_LABEL.to_owned(), self.cluster.to_owned())].into()),
                owner_references: Some(vec![self.reference.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        }
    }

    /// Whose Secret that is.
    pub fn judge(&self, meta: &ObjectMeta) -> Belongs {
        let references = || meta.owner_references.iter().flatten();
        let is_ours = |reference: &OwnerReference| reference.uid == self.reference.uid;
        if references().any(|one| !is_ours(one) && self.is_namesake(one)) {
            return Belongs::Predecessor;
        }
        let is_foreign = |one: &OwnerReference| one.controller == Some(true) && !is_ours(one);
        let label = meta.labels.as_ref().and_then(|labels| labels.get(CLUSTER_LABEL));
        if references().any(is_foreign) || label.is_none_or(|label| label != self.cluster) {
            return Belongs::Other;
        }
        Belongs::Own
    }

    /// The change that gives a Secret back what it must have: `None` if it has it, or is nobody's business here.
    pub fn mend(&self, meta: &ObjectMeta) -> Option<Value> {
        if meta.deletion_timestamp.is_some() || self.judge(meta) != Belongs::Own {
            return None;
        }
        let mut references = meta.owner_references.clone().unwrap_or_default();
        match references.iter_mut().find(|one| one.uid == self.reference.uid) {
            Some(found) if *found == self.reference => return None,
            // Such as one in a version that is no longer served.
            Some(found) => *found = self.reference.clone(),
            None => references.push(self.reference.clone()),
        }
        Some(json!({ "metadata": { "ownerReferences": references } }))
    }

    /// Another object of the same kind and name: it is no more, since there is this one.
    fn is_namesake(&self, other: &OwnerReference) -> bool {
        let group = |reference: &OwnerReference| {
            reference.api_version.split_once('/').map(|(group, _)| group.to_owned())
        };
        let Self { reference, .. } = self;
        (&other.kind, &other.name) == (&reference.kind, &reference.name) && group(other) == group(reference)
    }
}

/// Whose Secret that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It was made here; a lost reference comes back.
    Own,
    /// A user made it, or something else controls it: it is used, and stays as it is.
    Other,
    /// An object of the same name left it, and it is about to go.
    Predecessor,
}

/// In the version that is stored.
fn reference<K: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::fixtures::{cluster, config};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    /// provider-cases.md A40, A41, but for the version of the Cluster: upstream names v1beta1, which Cluster API is about to
    /// serve no more.
    #[test]
    fn secrets_go_with_the_cluster_or_the_config() {
        let (cluster, config) = (cluster(json!({})), config(json!({})));
        let keeper = Keeper::cluster(&cluster);
        let secret = keeper.secret("default", bundle_name("held"), [(BUNDLE_KEY, "text")]);
        let expected = json!({ "apiVersion": "v1", "kind": "Secret", "data": { "bundle": "dGV4dA==" }, "metadata": {
            "name": "held-talos", "namespace": "default", "labels": { "cluster.x-k8s.io/cluster-name": "held" },
            "ownerReferences": [{ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "held",
                "uid": "c-uid", "controller": true, "blockOwnerDeletion": true }] } });
        assert_eq!(serde_json::to_value(secret).unwrap(), expected);
        let reference = Keeper::config(&config, &cluster).reference;
        assert_eq!(
            (reference.api_version.as_str(), reference.kind.as_str()),
            ("bootstrap.cluster.x-k8s.io/v1alpha3", "TalosConfig")
        );
        assert_eq!((reference.uid.as_str(), reference.name.as_str()), ("t-uid", "tc"));
    }

    #[test]
    fn a_lost_or_stale_reference_comes_back_and_foreign_secrets_stay_as_they_are() {
        let cluster = cluster(json!({}));
        let keeper = Keeper::cluster(&cluster);
        let own = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "held", "uid": "c-uid",
            "controller": true, "blockOwnerDeletion": true });
        let changed = |key: &str, value: Value| {
            let mut changed = own.clone();
            changed[key] = value;
            changed
        };
        let backup = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "b" });
        let labels = json!({ CLUSTER_LABEL: "held" });
        let with = |references: Value| meta(json!({ "labels": labels, "ownerReferences": references }));
        let cases = [
            ("as it is to be", with(json!([own])), Belongs::Own, None),
            ("lost", with(json!([])), Belongs::Own, Some(json!([own]))),
            ("lost beside another", with(json!([backup])), Belongs::Own, Some(json!([backup, own]))),
            (
                "in an old version",
                with(json!([changed("apiVersion", json!("cluster.x-k8s.io/v1beta1")), backup])),
                Belongs::Own,
                Some(json!([own, backup])),
            ),
            (
                "not controlling",
                with(json!([changed("controller", json!(false))])),
                Belongs::Own,
                Some(json!([own])),
            ),
            (
                "controlled by something else",
                with(
                    json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "b", "controller": true }]),
                ),
                Belongs::Other,
                None,
            ),
            (
                "of an earlier Cluster",
                with(json!([changed("uid", json!("old"))])),
                Belongs::Predecessor,
                None,
            ),
            (
                "of an earlier Cluster, in an old version",
                with(
                    json!([{ "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster", "name": "held", "uid": "old" }]),
                ),
                Belongs::Predecessor,
                None,
            ),
            ("a user's", meta(json!({})), Belongs::Other, None),
            (
                "of another cluster",
                meta(json!({ "labels": { CLUSTER_LABEL: "other" } })),
                Belongs::Other,
                None,
            ),
            (
                "being deleted",
                meta(json!({ "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z" })),
                Belongs::Own,
                None,
            ),
        ];
        for (name, meta, belongs, references) in cases {
            assert_eq!(keeper.judge(&meta), belongs, "{name}");
            let expected = references.map(|list| json!({ "metadata": { "ownerReferences": list } }));
            assert_eq!(keeper.mend(&meta), expected, "{name}");
        }
    }
}
