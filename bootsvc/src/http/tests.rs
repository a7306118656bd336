//! The HTTP service on loopback, with the Kubernetes API of `fake_api` behind it.

mod decisions;
mod static_files;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bloomery_api::boot_method::BootFromDiskMethod;
use http::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;

use super::files::Directories;
use super::serve::{self, Context};
use crate::advertise::{Advertise, Endpoint};
use crate::agent::serve::{Options, Service};
use crate::fake_api::FakeApi;
use crate::kubernetes::Kubernetes;
use crate::loaders::LoaderStore;
use crate::metrics::Metrics;

/// A running service and its surroundings.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) api: FakeApi,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: tempfile::TempDir,
    stop: CancellationToken,
}

/// What a test may choose.
pub(crate) struct Setup {
    pub(crate) method: BootFromDiskMethod,
    pub(crate) extra_args: &'static str,
    pub(crate) endpoint: Option<&'static str>,
    pub(crate) api_reachable: bool,
    pub(crate) auto_accept: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            method: BootFromDiskMethod::IpxeExit,
            extra_args: "",
            endpoint: Some("10.77.0.3"),
            api_reachable: true,
            auto_accept: false,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lab {
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (share, environments) = (directory.path().join("share"), directory.path().join("env"));
        let metrics = Arc::new(Metrics::default());
        let api = FakeApi::default();
        let kubernetes = if setup.api_reachable {
            Kubernetes::with_client(api.client())
        } else {
            Kubernetes::unreachable()
        };
        let endpoint = setup.endpoint.and_then(|host| Endpoint::parse(host, 8081));
        let options = Options {
            auto_accept: setup.auto_accept,
            insecure_wipe: true,
            auto_bmc_setup: true,
            reboot_timeout: Duration::from_mins(20),
        };
        let context = Context {
            advertise: Advertise::new(endpoint, 8081).0,
            loaders: Arc::new(LoaderStore::new(share.join("ipxe"))),
            directories: Directories { environments: environments.clone(), agents: share.join("agent") },
            agent: Service::new(kubernetes.clone(), options, metrics.clone()),
            kubernetes,
            boot_from_disk: setup.method,
            extra_agent_args: setup.extra_args.into(),
            metrics: metrics.clone(),
            trace: crate::trace::Trace::default(),
        };
        let listener = serve::bind(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(serve::run(listener, context, stop.clone()));
        let lab = Self { address: ([127, 0, 0, 1], port).into(), api, metrics, directory, stop };
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

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (response, body) = self.send(self.request(Method::GET, path)).await;
        (response.status(), body)
    }
}
