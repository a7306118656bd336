//! What a Server must be: upstream's three rules, in upstream's order.
//!
//! Never refuses more than upstream does.

use bloomery_api::METAL_GROUP;
use bloomery_api::boot_method::{PXE_MODES, SERVER_METHODS};
use bloomery_api::patch::OPERATIONS;
use serde_json::Value;

use super::status::{Cause, Refusal};

/// Judges a Server of either version.
pub(super) fn judge(name: &str, object: &Value) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    for (field, valid) in [("bootFromDiskMethod", &SERVER_METHODS[..]), ("pxeMode", &PXE_MODES[..])] {
        let value = object.pointer(&format!("/spec/{field}")).and_then(Value::as_str).unwrap_or_default();
        if !valid.contains(&value) {
            causes.push(Cause::not_one_of(format!("spec.{field}"), value, valid));
        }
    }
    let patches = object.pointer("/spec/configPatches").and_then(Value::as_array);
    for (index, patch) in patches.into_iter().flatten().enumerate() {
        let operation = patch.get("op").and_then(Value::as_str).unwrap_or_default();
        if !OPERATIONS.contains(&operation) {
            causes.push(Cause::not_one_of(format!("spec.configPatches.{index}.op"), operation, &OPERATIONS));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Refusal::Invalid { group: METAL_GROUP, kind: "Server", name: name.to_owned(), causes })
}
