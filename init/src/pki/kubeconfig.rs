//! Kubeconfig files with everything in them, in JSON, which is YAML as well.

use super::leaf::Issued;
use crate::layout::KUBERNETES_API_PORT;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// For one user of the plane's own API server, over loopback.
pub fn local(user: &str, ca: &str, issued: &Issued) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "bloomery", "cluster": {
            "server": format!("https://127.0.0.1:{KUBERNETES_API_PORT}"),
            "certificate-authority-data": STANDARD.encode(ca),
        }}],
        "users": [{ "name": user, "user": {
            "client-certificate-data": STANDARD.encode(&issued.certificate),
            "client-key-data": STANDARD.encode(&issued.key),
        }}],
        "contexts": [{ "name": "bloomery", "context": { "cluster": "bloomery", "user": user }}],
        "current-context": "bloomery",
    });
    format!("{config:#}\n")
}
