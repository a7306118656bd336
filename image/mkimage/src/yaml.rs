//! Manifests as values: files of several documents, and the way into them.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_norway::Value;

/// The documents of a text; empty ones are left out.
///
/// # Errors
/// One is not YAML; it is named by its place, from 0.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let value =
            Value::deserialize(document).with_context(|| format!("failed to parse document {index}"))?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// The text of these documents.
///
/// # Errors
/// One cannot be written.
pub fn text_of(documents: &[Value]) -> Result<String> {
    let mut out = String::new();
    for document in documents {
        out.push_str("---\n");
        out.push_str(&serde_norway::to_string(document).context("failed to write YAML")?);
    }
    Ok(out)
}

/// Descends into nested mappings; none where a step is missing.
pub fn at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, key| value.get_mut(*key))
}

/// The text in nested mappings; none where a step is missing or it is no text.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, key| value.get(*key)).and_then(Value::as_str)
}
