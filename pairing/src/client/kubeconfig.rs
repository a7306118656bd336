//! The kubeconfig that an admin identity becomes.

use std::net::IpAddr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Paired;
use super::endpoint::Endpoint;

/// Name of the cluster extension that says where the appliance is.
pub const APPLIANCE_EXTENSION: &str = "bloomery.dev/appliance";
/// A name in every certificate of PID 1 that tells machines apart worse than any other.
const LOCALHOST: &str = "localhost";

/// A kubeconfig with one cluster, one user and one context, each with the same name.
pub struct Kubeconfig(Value);

/// What our own programs find in a kubeconfig; others carry it along unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplianceExtension {
    /// `HOST:PORT` of the appliance's HTTPS interface.
    pub endpoint: String,
}

impl Kubeconfig {
    /// For the Kubernetes API on the endpoint's host, at `api_port` or else at the port that the appliance
    /// names.
    pub fn new(name: &str, endpoint: &Endpoint, identity: &Paired, api_port: Option<u16>) -> Self {
        let base64 = |pem: &str| BASE64.encode(pem.as_bytes());
        let Paired { client_key, response: identity } = identity;
        let mut cluster = json!({
            "server": endpoint.url(api_port.unwrap_or(identity.api_server_port)),
            "certificate-authority-data": base64(&identity.certificate_authority),
        });
        if let Some(server_name) = tls_server_name(endpoint.host(), &identity.server_names) {
            cluster["tls-server-name"] = server_name.into();
        }
        let extension = ApplianceExtension { endpoint: endpoint.to_string() };
        cluster["extensions"] = json!([{ "name": APPLIANCE_EXTENSION, "extension": extension }]);
        let user = json!({
            "client-certificate-data": base64(&identity.client_certificate),
            "client-key-data": base64(client_key),
        });
        Self(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": name, "cluster": cluster }],
            "users": [{ "name": name, "user": user }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
            "current-context": name,
        }))
    }

    /// As a YAML document.
    pub fn to_yaml(&self) -> Result<String, RenderError> {
        serde_norway::to_string(&self.0).map_err(|source| RenderError { source })
    }
}

/// The name that a client has to verify when `host` is not in the certificate; DNS names are preferred, as
/// only those can be sent along (RFC 6066 §3).
pub fn tls_server_name(host: &str, certificate_names: &[String]) -> Option<String> {
    let address: Option<IpAddr> = host.parse().ok();
    let matches = |name: &&String| match address {
        Some(address) => name.parse() == Ok(address),
        None => name.eq_ignore_ascii_case(host.trim_end_matches('.')),
    };
    if certificate_names.iter().any(|name| matches(&name)) {
        return None;
    }
    let mut dns_names = certificate_names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    let telling = dns_names.clone().find(|name| *name != LOCALHOST);
    telling.or_else(|| dns_names.next()).or_else(|| certificate_names.first()).cloned()
}

/// The YAML could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the kubeconfig as YAML")]
pub struct RenderError {
    source: serde_norway::Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PairResponse;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_a_server_only_when_the_host_is_not_in_the_certificate() {
        let certificate = names(&["10.0.2.15", "2001:db8::1", "Bloomery.local"]);
        for (host, expected) in [
            ("10.0.2.15", None),
            ("2001:DB8:0::1", None),
            ("bloomery.LOCAL.", None),
            ("127.0.0.1", Some("Bloomery.local")),
            ("localhost", Some("Bloomery.local")),
        ] {
            assert_eq!(tls_server_name(host, &certificate).as_deref(), expected, "{host}");
        }
        let local = names(&["localhost", "127.0.0.1", "forge"]);
        assert_eq!(tls_server_name("192.0.2.1", &local).as_deref(), Some("forge"));
        assert_eq!(tls_server_name("192.0.2.1", &local[..2]).as_deref(), Some("localhost"));
        assert_eq!(tls_server_name("h", &names(&["10.0.2.15"])).as_deref(), Some("10.0.2.15"));
        assert_eq!(tls_server_name("h", &[]), None);
    }

    #[test]
    fn has_the_shape_that_kubectl_reads() {
        let response = PairResponse {
            certificate_authority: "ca".into(),
            client_certificate: "certificate".into(),
            id: "00000000".into(),
            user: "admin:a@b#00000000".into(),
            expires: "2027-01-01T00:00:00Z".into(),
            api_server_port: 6443,
            server_names: names(&["bloomery"]),
        };
        let identity = Paired { client_key: "key".into(), response };
        let endpoint: Endpoint = "192.0.2.7:18443".parse().unwrap();
        let yaml = Kubeconfig::new("lab", &endpoint, &identity, None).to_yaml().unwrap();
        let expected = "\
apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: https://192.0.2.7:6443
    certificate-authority-data: Y2E=
    tls-server-name: bloomery
    extensions:
    - name: bloomery.dev/appliance
      extension:
        endpoint: 192.0.2.7:18443
users:
- name: lab
  user:
    client-certificate-data: Y2VydGlmaWNhdGU=
    client-key-data: a2V5
contexts:
- name: lab
  context:
    cluster: lab
    user: lab
current-context: lab
";
        assert_eq!(yaml, expected);
        let forwarded = Kubeconfig::new("lab", &endpoint, &identity, Some(16443)).to_yaml().unwrap();
        assert!(forwarded.contains("server: https://192.0.2.7:16443"));
    }
}
