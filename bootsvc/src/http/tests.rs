//! The HTTP service on loopback, with the Kubernetes API of `fake_api` behind it.

mod claims;
mod configdata;
mod decisions;
mod identity;
mod static_files;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use bloomery_api::boot_method::BootFromDiskMethod;
use clap::Parser as _;
use http::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::serve;
use crate::cache::Cache;
use crate::config::Args;
use crate::kubernetes::Kubernetes;
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::servers::Servers;
use crate::services::{Objects, Services};
use crate::tests::fake_api::{FakeApi, PLANE, PLANE_KEY, binding, metal, plane_held_by};

/// Identity of the lab's plane.
const OWN: &str = "own";

/// A running service and its surroundings.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) api: FakeApi,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) neighbours: Neighbours,
    stop: CancellationToken,
}

/// The boot token in a script.
pub(crate) fn token_of(script: &str) -> Option<String> {
    let (_, rest) = script.split_once(" bloomery.token=")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// What a test may choose.
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct Setup {
    pub(crate) method: BootFromDiskMethod,
    pub(crate) extra_args: &'static str,
    pub(crate) endpoint: Option<&'static str>,
    pub(crate) api_reachable: bool,
    pub(crate) auto_accept: bool,
    pub(crate) token_required: bool,
    pub(crate) any_contents: bool,
    /// Further flags of the command line.
    pub(crate) flags: Vec<String>,
    /// The state of another lab, as after a restart of the process.
    pub(crate) api: Option<FakeApi>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            method: BootFromDiskMethod::IpxeExit,
            extra_args: "",
            endpoint: Some("10.77.0.3"),
            api_reachable: true,
            auto_accept: false,
            token_required: true,
            any_contents: false,
            flags: Vec::new(),
            api: None,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lab {
    #[allow(clippy::needless_pass_by_value, reason = "tests hand over what they made for it")]
    pub(crate) fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = setup.api.unwrap_or_else(|| {
            let api = FakeApi::default();
            api.put(PLANE, plane_held_by(OWN));
            api
        });
        std::fs::write(directory.path().join("id"), format!("{{\"id\":\"{OWN}\",\"epoch\":1}}")).unwrap();
        std::fs::write(directory.path().join("key"), PLANE_KEY).unwrap();
        let kubernetes = if setup.api_reachable {
            Kubernetes::with_client(api.client())
        } else {
            Kubernetes::unreachable()
        };
        let below = directory.path().display();
        let mut flags = vec![
            "bootsvc".to_owned(),
            format!("--share-dir={below}/share"),
            format!("--env-dir={below}/env"),
            format!("--plane-dir={below}"),
            format!("--boot-from-disk-method={}", setup.method),
            format!("--auto-accept-servers={}", setup.auto_accept),
            format!("--auto-accept-non-empty={}", setup.any_contents),
            format!("--require-agent-token={}", setup.token_required),
            format!("--extra-agent-kernel-args={}", setup.extra_args),
        ];
        flags.extend(setup.endpoint.map(|host| format!("--api-endpoint={host}")));
        flags.extend(setup.flags);
        let objects = Objects {
            servers: Servers::of_fake(api.clone()),
            bindings: Cache::of_fake(api.clone(), binding("")),
            classes: Cache::of_fake(api.clone(), metal("serverclasses", "")),
            environments: Cache::of_fake(api.clone(), metal("environments", "")),
        };
        let args = Args::try_parse_from(flags).unwrap();
        let (services, _) = Services::build(&args, kubernetes, objects).unwrap();
        let (metrics, neighbours) = (services.edge.metrics.clone(), services.neighbours.clone());
        let listener = serve::bind(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(serve::run(listener, Context::new(services), stop.clone()));
        let lab = Self { address: ([127, 0, 0, 1], port).into(), api, metrics, directory, neighbours, stop };
        lab.write("share/agent/amd64/vmlinuz", b"agent kernel");
        lab.write("share/agent/amd64/initramfs.xz", b"agent initramfs");
        lab.write("share/ipxe/snp.efi", b"loader");
        lab
    }

    /// Writes a file below the lab's directory.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Boots a machine: the token its agent was given, if one.
    pub(crate) async fn boot(&self, uuid: &str) -> Option<String> {
        let (_, script) = self.get(&format!("/ipxe?uuid={uuid}&mac=52-54-00-77-00-01")).await;
        token_of(&script)
    }

    /// Sends a request with HTTP/1.1.
    async fn send(&self, request: http::request::Builder) -> (Response<()>, String) {
        let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let (response, body) = self.send(self.request(Method::GET, path)).await;
        (response.status(), body)
    }
}
