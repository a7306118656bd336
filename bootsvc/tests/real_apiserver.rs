//! Registration and boot decision against a real etcd and kube-apiserver.
//!
//! Needs the control-plane binary: `CONTROLPLANE`, or `out/controlplane` of this checkout.
//! Run: `cargo test -p bootsvc --test real_apiserver -- --ignored`

// The lint knows test functions, not the helpers of an integration test.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_agent_api as pb;
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_api::{Server, ServerBinding};
use bootsvc::advertise::Advertise;
use bootsvc::agent::serve::{Options, Service};
use bootsvc::health::{Health, Weight};
use bootsvc::http::files::Directories;
use bootsvc::http::serve;
use bootsvc::kubernetes;
use bootsvc::loaders::LoaderStore;
use bootsvc::metrics::Metrics;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";

/// Children that end with the test.
struct ControlPlane {
    children: Vec<Child>,
    directory: tempfile::TempDir,
    port: u16,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/controlplane");
    let path = std::env::var_os("CONTROLPLANE").map_or_else(default, PathBuf::from);
    assert!(
        path.exists(),
        "no control plane at {}: run `make image` first or set CONTROLPLANE",
        path.display()
    );
    path.canonicalize().unwrap()
}

fn patience() -> Duration {
    let factor = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    Duration::from_mins(1).mul_f64(factor)
}

impl ControlPlane {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let mut plane = Self { children: Vec::new(), directory, port };
        let etcd = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        plane.spawn(
            "etcd",
            &[
                "--data-dir=etcd-data",
                &format!("--listen-client-urls={etcd}"),
                &format!("--advertise-client-urls={etcd}"),
                &format!("--listen-peer-urls={peers}"),
                &format!("--initial-advertise-peer-urls={peers}"),
                &format!("--initial-cluster=default={peers}"),
            ],
        );
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(plane.path("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(plane.path("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(plane.path("tokens.csv"), "token,admin,admin,system:masters\n").unwrap();
        plane.spawn(
            "kube-apiserver",
            &[
                &format!("--etcd-servers={etcd}"),
                &format!("--secure-port={port}"),
                "--bind-address=127.0.0.1",
                "--cert-dir=certs",
                "--service-account-key-file=sa.pub",
                "--service-account-signing-key-file=sa.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
            ],
        );
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true } }],
            "users": [{ "name": "u", "user": { "token": "token" } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        });
        std::fs::write(plane.path("kubeconfig"), kubeconfig.to_string()).unwrap();
        plane
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&mut self, name: &str, args: &[&str]) {
        let link = self.path(name);
        std::os::unix::fs::symlink(binary(), &link).unwrap();
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(link)
            .args(args)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    fn logs(&self) -> String {
        let tail = |name: &str| {
            let log = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let from = log.len().saturating_sub(2000);
            log.get(from..).unwrap_or_default().to_owned()
        };
        format!("etcd: {}\nkube-apiserver {}: {}", tail("etcd.log"), self.port, tail("kube-apiserver.log"))
    }
}

/// Repeats `attempt` until it gives something, or fails with what it said last.
async fn eventually<T, F, R>(what: &str, plane: &ControlPlane, mut attempt: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        let last = match attempt().await {
            Ok(value) => return value,
            Err(last) => last,
        };
        assert!(
            started.elapsed() < patience(),
            "{what}: {last} after {:?}\n{}",
            started.elapsed(),
            plane.logs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn install_kinds(client: &Client, plane: &ControlPlane) {
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controllers/api/crds");
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut kind: serde_json::Value = serde_norway::from_str(&text).unwrap();
        // The conversion webhook belongs to the controllers, which do not run here.
        kind["spec"].as_object_mut().unwrap().remove("conversion");
        let kind: CustomResourceDefinition = serde_json::from_value(kind).unwrap();
        eventually("kind created", plane, || async {
            match kinds.create(&PostParams::default(), &kind).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
    let servers: Api<Server> = Api::all(client.clone());
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    eventually("kinds served", plane, || async {
        servers.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        bindings.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        Ok(())
    })
    .await;
}

fn boot_services(plane: &ControlPlane, kubernetes: kubernetes::Kubernetes) -> SocketAddr {
    let (share, metrics) = (plane.path("share"), Arc::new(Metrics::default()));
    std::fs::create_dir_all(share.join("agent/amd64")).unwrap();
    for file in ["vmlinuz", "initramfs.xz"] {
        std::fs::write(share.join("agent/amd64").join(file), b"x").unwrap();
    }
    let options = Options {
        auto_accept: false,
        insecure_wipe: true,
        auto_bmc_setup: true,
        reboot_timeout: Duration::from_mins(20),
    };
    let context = serve::Context {
        advertise: Advertise::new(None, 8081).0,
        loaders: Arc::new(LoaderStore::new(share.join("ipxe"))),
        directories: Directories { environments: plane.path("env"), agents: share.join("agent") },
        agent: Service::new(kubernetes.clone(), options, metrics.clone()),
        kubernetes,
        boot_from_disk: "ipxe-exit".parse().unwrap(),
        extra_agent_args: "".into(),
        metrics,
        trace: bootsvc::trace::Trace::default(),
    };
    let listener = serve::bind(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve::run(listener, context, CancellationToken::new()));
    ([127, 0, 0, 1], port).into()
}

async fn ask(address: SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /ipxe?uuid={UUID} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn registration(serial: &str) -> pb::CreateServerRequest {
    let system = pb::SystemInformation {
        uuid: UUID.to_uppercase(),
        manufacturer: "LabCo".to_owned(),
        serial_number: serial.to_owned(),
        ..Default::default()
    };
    let hardware = pb::HardwareInformation { system: Some(system), ..Default::default() };
    pb::CreateServerRequest { hardware: Some(hardware), hostname: "node1".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control-plane binary"]
async fn a_machine_registers_and_a_bound_one_never_gets_the_agent() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plane = ControlPlane::start();
    let part = Health::default().register("kubernetes", Weight::Shown);
    let kubernetes = kubernetes::connect(Some(plane.path("kubeconfig")), part, CancellationToken::new());
    let client =
        eventually("client", &plane, || async { kubernetes.client().ok_or("none yet".to_owned()) }).await;
    eventually("api server", &plane, || async {
        client.apiserver_version().await.map_err(|error| error.to_string())
    })
    .await;
    let address = boot_services(&plane, kubernetes);
    // Before the kinds exist nobody can tell what the machine is.
    assert!(ask(address).await.starts_with("HTTP/1.1 500 "));
    install_kinds(&client, &plane).await;
    let answer = ask(address).await;
    assert!(answer.contains("kernel /env/agent-amd64/vmlinuz"), "{answer}");

    let mut agent = AgentClient::connect(format!("http://{address}")).await.unwrap();
    for serial in ["SN1", "SN1", "SN2"] {
        let orders = agent.create_server(registration(serial)).await.unwrap().into_inner();
        assert_eq!(orders, pb::CreateServerResponse::default());
    }
    let servers: Api<Server> = Api::all(client.clone());
    let server = servers.get(UUID).await.unwrap();
    let system = server.spec.hardware.and_then(|hardware| hardware.system).unwrap();
    assert_eq!((system.uuid.as_str(), system.serial_number.as_str()), (UUID, "SN2"));
    assert!(!server.spec.accepted);
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let events = events.list(&ListParams::default()).await.unwrap();
    let registered = events.iter().filter(|event| event.reason.as_deref() == Some("Server Registration"));
    assert_eq!(registered.count(), 1);

    let address_report = pb::ReconcileServerAddressesRequest {
        uuid: UUID.to_owned(),
        address: vec![pb::Address { r#type: "InternalIP".to_owned(), address: "10.77.0.50".to_owned() }],
    };
    agent.reconcile_server_addresses(address_report).await.unwrap();
    let addresses = servers.get(UUID).await.unwrap().status.unwrap_or_default().addresses;
    assert_eq!(addresses.first().map(|address| address.address.as_str()), Some("10.77.0.50"));

    let bindings: Api<ServerBinding> = Api::all(client.clone());
    let binding = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": UUID }, "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m" } },
    });
    bindings.patch(UUID, &PatchParams::apply("test"), &Patch::Apply(binding)).await.unwrap();
    let answer = ask(address).await;
    assert!(!answer.contains("agent") && answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
