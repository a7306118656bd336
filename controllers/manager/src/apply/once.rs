//! Objects that are made once: what an administrator changed or removed afterwards stays as it is.
//!
//! A ConfigMap records what was made. It never says so before the object is there, and an object that is there without
//! a record (an earlier version's) is recorded and left alone.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::manifests::Manifest;

/// The record; the namespace is the API server's own, and there before any of ours.
const NAMESPACE: &str = "kube-system";
/// See [`NAMESPACE`].
const NAME: &str = "bloomery-applied-once";
/// What the record says of each.
const MADE: &str = "made";
/// Owner of the record.
const FIELD_MANAGER: &str = "bloomery";

/// What has been made already.
pub(super) struct Record(Api<ConfigMap>);

impl Record {
    pub(super) fn new(client: Client) -> Self {
        Self(Api::namespaced(client, NAMESPACE))
    }

    /// Whether the object was made once, whatever became of it.
    pub(super) async fn holds(&self, manifest: &Manifest) -> Result<bool, kube::Error> {
        let record = self.0.get_opt(NAME).await?;
        let data = record.and_then(|record| record.data).unwrap_or_default();
        Ok(data.contains_key(&key(manifest)))
    }

    /// Records that the object is there.
    pub(super) async fn add(&self, manifest: &Manifest) -> Result<(), kube::Error> {
        let data = json!({ key(manifest): MADE });
        let patch = json!({ "data": data });
        match self.0.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let made = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": data,
                });
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                self.0.patch(NAME, &parameters, &Patch::Apply(&made)).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

/// Keys of a ConfigMap know letters, digits, `-`, `_` and `.`.
fn key(manifest: &Manifest) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let name: String =
        manifest.name.chars().map(|character| if plain(character) { character } else { '-' }).collect();
    format!("{}.{name}", manifest.gvk.kind)
}
