//! The webhooks: HTTPS on loopback, called by the API server.
//!
//! Duty: answer `/convert` for every version pair the CRDs serve, and the admission paths of
//! `manifests/30-webhooks.yaml`.
//! Never crashes or hangs on a request: what cannot be served gets an answer that says why.

pub mod admission;
pub mod review;
mod serve;
pub mod tls;

pub use serve::{Error, Webhook, serve};

use serde_json::{Map, Value};

/// The `uid` and the request of a review of that version and kind; else its `uid`, as far as it can be read, and the
/// problem. kube's types would not tell the `uid` of a review that lacks anything else, which its answer must name.
fn request(body: &[u8], api_version: &str, kind: &str) -> Result<(String, Value), (String, String)> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| (String::new(), format!("failed to parse the review: {error}")))?;
    let text = |pointer| review.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (uid, version, stated) = (text("/request/uid").to_owned(), text("/apiVersion"), text("/kind"));
    let problem = if version != api_version || stated != kind {
        format!("want {api_version} {kind}, got {version} {stated}")
    } else if uid.is_empty() {
        "request.uid is missing".to_owned()
    } else {
        return Ok((uid, review["request"].take()));
    };
    Err((uid, format!("failed to use the review: {problem}")))
}

/// The review that answers one. The response is moved: `json!` would copy every object in it.
fn answered(api_version: &str, kind: &str, response: Value) -> Value {
    let texts = [("apiVersion", api_version.into()), ("kind", kind.into()), ("response", response)];
    Value::Object(Map::from_iter(texts.map(|(key, value)| (key.to_owned(), value))))
}
