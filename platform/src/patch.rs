//! Writes on an object that was read: for exactly that object in exactly that version.
//!
//! A write never lands on top of what its caller has not seen; when the object changed in between, the caller looks and
//! decides again.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself.
    Object,
    /// Its status.
    Status,
}

/// What became of a write.
#[derive(Debug)]
pub enum Written<K> {
    /// The object as it is now.
    Done(Box<K>),
    /// The object changed since it was read, or is gone: look again.
    Changed,
}

/// Merges `change` into that part of the object, if it is still the one that was read; HTTP 409 or 404 if not.
pub async fn merge<K>(
    api: &Api<K>,
    object: &K,
    change: Value,
    part: Part,
    params: &PatchParams,
) -> kube::Result<K>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    let patch = Patch::Merge(bound(object, change));
    match part {
        Part::Object => api.patch(name, params, &patch).await,
        Part::Status => api.patch_status(name, params, &patch).await,
    }
}

/// The same for callers that look again when the object changed.
pub async fn try_merge<K>(
    api: &Api<K>,
    object: &K,
    change: Value,
    part: Part,
    params: &PatchParams,
) -> kube::Result<Written<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    match merge(api, object, change, part, params).await {
        Ok(object) => Ok(Written::Done(Box::new(object))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            Ok(Written::Changed)
        }
        Err(error) => Err(error),
    }
}

/// The change for this object in this version alone.
fn bound<K: Resource>(object: &K, mut change: Value) -> Value {
    let meta = object.meta();
    change["metadata"]["uid"] = json!(meta.uid);
    change["metadata"]["resourceVersion"] = json!(meta.resource_version);
    change
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn a_change_names_the_object_and_the_version_that_were_read() {
        let mut map = ConfigMap::default();
        map.metadata.uid = Some("u".to_owned());
        map.metadata.resource_version = Some("7".to_owned());
        let change = json!({ "metadata": { "labels": { "a": "b" } }, "data": {} });
        let expected = json!({
            "metadata": { "labels": { "a": "b" }, "uid": "u", "resourceVersion": "7" }, "data": {},
        });
        assert_eq!(bound(&map, change), expected);
        let status = bound(&map, json!({ "status": {} }));
        assert_eq!(status["metadata"], json!({ "uid": "u", "resourceVersion": "7" }));
    }
}
