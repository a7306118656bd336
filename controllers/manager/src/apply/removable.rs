//! Objects that belong to the administrators: once one was there, it is neither brought back nor put right.
//!
//! What was there is on record in a ConfigMap, so that it travels with the state and not with the image.
//! Never takes a record that cannot be read for none: then the object is not applied, and the apply is tried again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::manifests::Manifest;

/// It exists as soon as the API server answers, before any namespace of ours.
const NAMESPACE: &str = "kube-system";
/// Its keys are the objects that were there.
const CONFIG_MAP: &str = "bloomery-applied";
const FIELD_MANAGER: &str = "bloomery";

/// Whether the object was there before.
pub(super) async fn was_there(client: &Client, manifest: &Manifest) -> Result<bool, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map = maps.get_opt(CONFIG_MAP).await?;
    Ok(map.and_then(|map| map.data).is_some_and(|data| data.contains_key(&key(manifest))))
}

/// Puts on record that it is there.
pub(super) async fn note(client: &Client, manifest: &Manifest) -> Result<(), kube::Error> {
    if was_there(client, manifest).await? {
        return Ok(());
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let data: BTreeMap<String, String> = [(key(manifest), manifest.to_string())].into();
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": CONFIG_MAP }, "data": data });
    // Each object by a manager of its own: an apply takes away what the same manager said before and does not say now.
    let manager = format!("{FIELD_MANAGER}-{}", key(manifest));
    maps.patch(CONFIG_MAP, &PatchParams::apply(&manager), &Patch::Apply(map)).await.map(drop)
}

/// Kind, namespace and name in the letters that a key may have.
fn key(manifest: &Manifest) -> String {
    let namespace = manifest.namespace.as_deref().unwrap_or_default();
    let text = format!("{}.{namespace}.{}", manifest.gvk.kind, manifest.name);
    text.chars()
        .map(|one| if one.is_ascii_alphanumeric() || one == '.' || one == '-' { one } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::manifests::parse;

    #[test]
    fn only_manifests_that_say_so_are_removable() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'a:b', namespace: n, annotations: {ANNOTATION}}";
        for (annotations, is_removable) in [
            ("{bloomery.dev/removable: 'true'}", true),
            ("{bloomery.dev/removable: 'false'}", false),
            ("{other: 'true'}", false),
        ] {
            let manifests = parse("f", &text.replace("{ANNOTATION}", annotations)).unwrap();
            assert_eq!(manifests[0].is_removable(), is_removable, "{annotations}");
            assert_eq!(key(&manifests[0]), "ConfigMap.n.a_b");
        }
    }
}
