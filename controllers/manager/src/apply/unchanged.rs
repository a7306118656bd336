//! Tells whether an object in the API server is what its manifest says, so that it need not be applied again.
//!
//! Merging the fields of large CRDs costs the API server seconds of a slow machine's boot; reading them costs
//! almost nothing. Two things must hold: the object was last applied from this very manifest (else a field
//! that the manifest lost would stay), and everything in the manifest is still in the object.
//! Never takes doubt for a yes: what differs in any way is applied.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Annotation with the SHA-256 of the manifest that was applied last.
const FINGERPRINT: &str = "bloomery.dev/manifest-sha256";

/// The manifest with its own fingerprint in an annotation.
pub(super) fn stamped(manifest: &Value) -> Value {
    let digest = format!("{:x}", Sha256::digest(manifest.to_string()));
    let mut stamped = manifest.clone();
    if let Some(annotations) =
        entry(&mut stamped, "metadata").and_then(|metadata| entry(metadata, "annotations"))
        && let Some(annotations) = annotations.as_object_mut()
    {
        annotations.insert(FINGERPRINT.to_owned(), Value::String(digest));
    }
    stamped
}

/// The object under a key, made if it is absent or null.
fn entry<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let entry = value.as_object_mut()?.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    Some(entry)
}

/// True when everything in `wanted` is in `live`. The API server adds fields; it never takes any away.
pub(super) fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| contains(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn additions_of_the_server_do_not_count_and_everything_else_does() {
        let wanted = json!({ "a": { "b": 1, "l": [{ "x": 1 }, "y"] } });
        let cases = [
            (wanted.clone(), true),
            (json!({ "a": { "b": 1, "l": [{ "x": 1, "z": 2 }, "y"], "c": 3 }, "status": {} }), true),
            (json!({ "a": { "b": 2, "l": [{ "x": 1 }, "y"] } }), false),
            (json!({ "a": { "b": 1, "l": [{ "x": 1 }] } }), false),
            (json!({ "a": { "b": 1, "l": [{ "x": 1 }, "y", "more"] } }), false),
            (json!({ "a": { "b": 1, "l": ["y", { "x": 1 }] } }), false),
            (json!({ "a": { "b": "1", "l": [{ "x": 1 }, "y"] } }), false),
            (json!({}), false),
        ];
        for (live, expected) in cases {
            assert_eq!(contains(&live, &wanted), expected, "{live}");
        }
    }

    #[test]
    fn a_manifest_that_lost_a_field_differs_by_its_fingerprint() {
        let before =
            stamped(&json!({ "kind": "A", "metadata": { "name": "n" }, "spec": { "a": 1, "b": 2 } }));
        let after = stamped(&json!({ "kind": "A", "metadata": { "name": "n" }, "spec": { "a": 1 } }));
        assert!(contains(&before, &before));
        assert!(!contains(&before, &after));
    }

    #[test]
    fn other_annotations_stay() {
        let manifest = json!({ "metadata": { "annotations": { "mine": "1" } } });
        let stamped = stamped(&manifest);
        assert_eq!(stamped["metadata"]["annotations"]["mine"], "1");
        assert_eq!(stamped["metadata"]["annotations"][FINGERPRINT].as_str().map(str::len), Some(64));
        let nothing = super::stamped(&json!({ "metadata": { "annotations": null } }));
        assert!(nothing["metadata"]["annotations"][FINGERPRINT].is_string());
    }
}
