//! What a change of a template must be: none of its `spec`.
//!
//! Never takes a field that is absent and one that is empty for different ones.

use serde_json::{Map, Value};

use super::status::Refusal;

pub(super) fn judge(kind: &str, old: &Value, new: &Value) -> Result<(), Refusal> {
    if spec(old) == spec(new) {
        return Ok(());
    }
    Err(Refusal::BadRequest(format!("{kind}.Spec is immutable")))
}

fn spec(object: &Value) -> Value {
    object.get("spec").and_then(pruned).unwrap_or(Value::Null)
}

/// The value without what is empty.
fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.iter().filter_map(|(key, value)| Some((key.clone(), pruned(value)?))).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        Value::Array(items) => {
            // Places in a list count, so that an empty item stays.
            (!items.is_empty())
                .then(|| Value::Array(items.iter().map(|item| pruned(item).unwrap_or(Value::Null)).collect()))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}
