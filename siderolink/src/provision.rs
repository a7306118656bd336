//! `sidero.link.ProvisionService/Provision`: a node gets its end of the tunnel.
//!
//! Never lets in a machine without a ServerBinding, and never gives an address that another has. Whether the caller is
//! that machine is judged before, by the boot services, which see its network card.

use std::net::IpAddr;
use std::sync::Arc;

use bloomery_api::ServerBinding;
use bloomery_api::siderolink::peers::{self, Refusal};
use bloomery_api::siderolink::report::TALOS_VERSION_ANNOTATION;
use bloomery_api::siderolink::{Network, key_text, with_prefix};
use bloomery_platform::patch::{Part, Written, try_merge};
use bloomery_siderolink_api::REACHED_AT;
use kube::Api;
use kube::api::PatchParams;
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status};

use crate::plane::Plane;
use bloomery_siderolink_api::link::provision_service_server::ProvisionService;
use bloomery_siderolink_api::link::{ProvisionRequest, ProvisionResponse};

/// Tries to write a binding that changes meanwhile.
const TRIES: usize = 5;
/// Octets of a release's name.
const LONGEST_VERSION: usize = 64;

/// The service.
#[derive(Clone)]
pub struct Provision(pub Arc<Plane>);

#[tonic::async_trait]
impl ProvisionService for Provision {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let reached =
            request.metadata().get(REACHED_AT).and_then(|address| address.to_str().ok()?.parse().ok());
        let answer = self.answer(request.into_inner(), reached).await;
        if let Err(status) = &answer {
            tracing::info!(code = ?status.code(), message = status.message(), "no end of the tunnel given");
        }
        answer.map(Response::new)
    }
}

impl Provision {
    async fn answer(
        &self,
        request: ProvisionRequest,
        reached: Option<IpAddr>,
    ) -> Result<ProvisionResponse, Status> {
        let plane = &*self.0;
        let Some(network) = plane.network() else {
            return Err(Status::unavailable("the tunnel is not open yet"));
        };
        let endpoint = plane.endpoint(reached).await?;
        let name = request.node_uuid.to_lowercase();
        let binding = self.stored(network, &name, &request).await?;
        let link = binding.spec.siderolink.clone().unwrap_or_default();
        plane.nodes.note(Arc::new(binding));
        if let Err(error) = plane.sync().await {
            tracing::warn!(error = bloomery_base::chain(&error), "tunnel not changed");
            return Err(Status::unavailable("the tunnel could not be changed"));
        }
        let address = network.kept(&link.address).ok_or_else(|| Status::internal("no address was stored"))?;
        tracing::info!(server = name, %address, "end of the tunnel given");
        Ok(ProvisionResponse {
            server_endpoint: vec![endpoint.to_string()],
            server_public_key: plane.public_key().map(|key| key_text(&key)).unwrap_or_default(),
            node_address_prefix: with_prefix(address),
            server_address: network.server().to_string(),
            grpc_peer_addr_port: String::new(),
        })
    }

    /// The binding with the node's key and address in it.
    async fn stored(
        &self,
        network: Network,
        name: &str,
        request: &ProvisionRequest,
    ) -> Result<ServerBinding, Status> {
        let away = || Status::unavailable("the Kubernetes API is away");
        let plane = &*self.0;
        let client = plane.kubernetes.client().ok_or_else(away)?;
        if !plane.nodes.is_listed() {
            return Err(away());
        }
        let bindings: Api<ServerBinding> = Api::all(client);
        for _ in 0..TRIES {
            let found = if is_name(name) { bindings.get_opt(name).await } else { Ok(None) };
            let binding = found.map_err(|error| {
                tracing::warn!(server = name, error = bloomery_base::chain(&error), "binding not read");
                away()
            })?;
            let Some(binding) = binding else {
                return Err(Status::not_found(format!("server binding {:?} not found", request.node_uuid)));
            };
            let key = &request.node_public_key;
            let link = peers::provision(&binding, key, network, rand::random, &plane.nodes.peers())
                .map_err(|refusal| refused(&refusal))?;
            let version = request.talos_version.as_deref().filter(|version| is_version(version));
            let Some(change) = change(&binding, &json!(link), version) else { return Ok(binding) };
            match try_merge(&bindings, &binding, change, Part::Object, &PatchParams::default()).await {
                Ok(Written::Done(binding)) => return Ok(*binding),
                Ok(Written::Changed) => {}
                Err(error) => {
                    tracing::warn!(
                        server = name,
                        error = bloomery_base::chain(&error),
                        "binding not written"
                    );
                    return Err(away());
                }
            }
        }
        Err(Status::aborted("the server binding keeps changing"))
    }
}

/// What is written, if anything changes.
fn change(binding: &ServerBinding, link: &Value, version: Option<&str>) -> Option<Value> {
    let annotations = binding.metadata.annotations.as_ref();
    let known = annotations.and_then(|annotations| annotations.get(TALOS_VERSION_ANNOTATION));
    let is_same = json!(binding.spec.siderolink) == *link;
    if is_same && (version.is_none() || known.map(String::as_str) == version) {
        return None;
    }
    let mut change = json!({ "spec": { "siderolink": link } });
    if let Some(version) = version {
        change["metadata"] = json!({ "annotations": { TALOS_VERSION_ANNOTATION: version } });
    }
    Some(change)
}

fn refused(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Key(_) => Code::InvalidArgument,
        Refusal::KeyTaken => Code::AlreadyExists,
        Refusal::NoAddress => Code::ResourceExhausted,
    };
    Status::new(code, refusal.to_string())
}

/// Whether a binding can have this name: Servers are named by UUIDs.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_VERSION
        && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

fn is_version(version: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'+' | b'_');
    !version.is_empty() && version.len() <= LONGEST_VERSION && version.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use bloomery_api::server_binding::{ServerBindingSpec, SideroLink};

    use super::*;

    #[test]
    fn only_news_are_written() {
        let link = SideroLink { address: "fd00::9/64".to_owned(), public_key: "k".to_owned() };
        let spec = ServerBindingSpec { siderolink: Some(link.clone()), ..ServerBindingSpec::default() };
        let mut binding = ServerBinding::new("a", spec);
        let link = json!(link);
        assert_eq!(change(&binding, &link, None), None);
        let with_version = json!({ "spec": { "siderolink": link },
            "metadata": { "annotations": { "bloomery.dev/talos-version": "v1.13.9" } } });
        assert_eq!(change(&binding, &link, Some("v1.13.9")), Some(with_version));
        let annotations = [(TALOS_VERSION_ANNOTATION.to_owned(), "v1.13.9".to_owned())];
        binding.metadata.annotations = Some(annotations.into());
        assert_eq!(change(&binding, &link, Some("v1.13.9")), None);
        assert!(change(&binding, &json!({ "address": "fd00::9/64", "publicKey": "l" }), None).is_some());
    }

    #[test]
    fn names_and_releases_are_plain() {
        for (name, expected) in
            [("", false), ("a/b", false), ("..", false), ("4c4c4544-0042", true), ("A", false)]
        {
            assert_eq!(is_name(name), expected, "{name}");
        }
        for (version, expected) in [("", false), ("v1.13.9", true), ("v1 x", false), (&"1".repeat(65), false)]
        {
            assert_eq!(is_version(version), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn the_endpoint_is_the_configured_one_or_the_one_that_was_reached() {
        let reached = Some("10.0.0.9".parse().unwrap());
        let cases = [
            ("192.0.2.7", reached, Some("192.0.2.7:51821")),
            ("[2001:db8::1]", reached, Some("[2001:db8::1]:51821")),
            ("", reached, Some("10.0.0.9:51821")),
            ("", None, None),
            ("does-not-exist.invalid", reached, None),
        ];
        for (host, reached, expected) in cases {
            let found =
                crate::plane::resolve(host, reached, 51821).await.ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{host} {reached:?}");
        }
    }
}
