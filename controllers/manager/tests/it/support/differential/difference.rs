//! Where two values differ.

use std::fmt::{Display, Formatter};

use serde_json::Value;

use super::snapshot::{DOCUMENTS, TEXT};

/// Octets of a value that a message shows.
const SHOWN: usize = 300;

/// A place where two values differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Keys from the outside in.
    pub(crate) at: Vec<String>,
    pub(crate) ours: Option<Value>,
    pub(crate) upstream: Option<Value>,
}

impl Display for Difference {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<Value>| {
            let text = value.as_ref().map_or_else(|| "nothing".to_owned(), super::shown);
            text[..text.floor_char_boundary(SHOWN)].to_owned()
        };
        write!(out, "{}: {} | {}", self.at.join(" > "), show(&self.ours), show(&self.upstream))
    }
}

/// All places: the outermost where one side has nothing, or where lists are not of one length.
pub(super) fn between(ours: &Value, upstream: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), Some(ours), Some(upstream), &mut found);
    found
}

fn compare(
    at: &mut Vec<String>,
    ours: Option<&Value>,
    upstream: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (ours, upstream) {
        (ours, upstream) if ours == upstream => {}
        (Some(Value::Object(our)), Some(Value::Object(their))) => {
            // Documents that say the same may be written otherwise.
            let is_text = our.contains_key(DOCUMENTS) && their.contains_key(DOCUMENTS);
            let says_the_same = our.get(DOCUMENTS) == their.get(DOCUMENTS);
            let mut keys: Vec<&String> = our.keys().chain(their.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                if is_text && !says_the_same && key == TEXT {
                    continue;
                }
                at.push(key.clone());
                compare(at, our.get(key), their.get(key), found);
                at.pop();
            }
        }
        (Some(Value::Array(our)), Some(Value::Array(their))) if our.len() == their.len() => {
            for (index, (our, their)) in our.iter().zip(their).enumerate() {
                at.push(index.to_string());
                compare(at, Some(our), Some(their), found);
                at.pop();
            }
        }
        (ours, upstream) => {
            found.push(Difference { at: at.clone(), ours: ours.cloned(), upstream: upstream.cloned() });
        }
    }
}
