//! Machine configuration patches as they stand in Servers and ServerClasses.
//!
//! Never applies a patch: that is the metadata service's work.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::schema;

/// Operations of RFC 6902 that a patch may name, in the order in which error messages list them.
pub const OPERATIONS: [&str; 6] = ["add", "copy", "move", "remove", "replace", "test"];

/// One RFC 6902 operation on the machine configuration. There is no `from` member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigPatch {
    /// Operation: add, remove, replace, move, copy or test.
    pub op: String,
    /// JSON pointer to the place the operation works on.
    pub path: String,
    /// Any JSON value; `null` is a value too.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub value: Option<Value>,
}

/// Keeps `null` apart from absence, which `Option` alone would not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_value_survives_and_absence_stays_absence() {
        for text in [r#"{"op":"add","path":"/a","value":null}"#, r#"{"op":"remove","path":"/a"}"#] {
            let patch: ConfigPatch = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&patch).unwrap(), text);
        }
    }
}
