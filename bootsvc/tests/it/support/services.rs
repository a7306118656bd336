//! The boot services against a control plane, and a machine that calls them.
//!
//! Never knows more of the services than a machine on the network does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bloomery_agent_api as pb;
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_api::plane::{Plane, PlaneSpec};
use bloomery_api::{Server, ServerBinding};
use bootsvc::config::Args;
use bootsvc::health::{Health, Weight};
use bootsvc::http::context::Context;
use bootsvc::http::serve;
use bootsvc::kubernetes::{self, Kubernetes};
use bootsvc::services::{Objects, Services};
use clap::Parser as _;
use hyper_util::rt::TokioIo;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use bloomery_testkit::{ControlPlane, eventually};

/// Key of the plane under test.
pub(crate) const PLANE_KEY: [u8; 32] = [7; 32];
/// Whom the RBAC manifest gives the services' rights.
pub(crate) const USER: &str = "bloomery:bootsvc";
/// Identity of the plane under test.
const OWN: &str = "own";

/// Waits for the API to answer; gives the services' access to it, with their own rights, and a client that
/// may do everything.
pub(crate) async fn connect(plane: &ControlPlane) -> (Kubernetes, Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let part = Health::default().register("kubernetes", Weight::Shown);
    let services = kubernetes::connect(Some(plane.kubeconfig(USER, &[])), part, CancellationToken::new());
    let client = plane.client("admin", &["system:masters"]).await;
    install_rights(&client).await;
    (services, client)
}

/// Installs roles and policies as the image does.
async fn install_rights(client: &Client) {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controllers/manager/manifests");
    let read = |file| std::fs::read_to_string(manifests.join(file)).unwrap();
    let text = [read("20-rbac.yaml"), read("25-admission.yaml")].join("---\n");
    for document in serde_norway::Deserializer::from_str(&text) {
        let object = DynamicObject::deserialize(document).unwrap();
        let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.as_deref().unwrap();
        eventually("rights", async || {
            let applied = api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&object)).await;
            applied.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Installs the kinds as committed, and the one that names the acting plane.
pub(crate) async fn install_kinds(client: &Client) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controllers/api/crds");
    let mut definitions = vec![Plane::crd()];
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut kind: Value = serde_norway::from_str(&text).unwrap();
        // The conversion webhook belongs to the controllers, which do not run here.
        kind["spec"].as_object_mut().unwrap().remove("conversion");
        definitions.push(serde_json::from_value(kind).unwrap());
    }
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in definitions {
        eventually("kind created", async || match kinds.create(&PostParams::default(), &kind).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }
    let servers: Api<Server> = Api::all(client.clone());
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    let planes: Api<Plane> = Api::all(client.clone());
    eventually("kinds served", async || {
        servers.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        bindings.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        planes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        Ok(())
    })
    .await;
}

/// Makes this plane, or another, the one that acts.
pub(crate) async fn hand_over(client: &Client, holder: Option<&str>) {
    let planes: Api<Plane> = Api::all(client.clone());
    let spec = PlaneSpec { holder: holder.unwrap_or(OWN).to_owned(), epoch: 1 };
    let object = json!({
        "apiVersion": "bloomery.dev/v1alpha1", "kind": "Plane", "metadata": { "name": "plane" }, "spec": spec,
    });
    planes.patch("plane", &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

/// Starts the services in a runtime of their own: to shut that down is as near to the end of a process as a test gets.
pub(crate) fn replica(plane: &ControlPlane) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = runtime.enter();
    let part = Health::default().register("kubernetes", Weight::Shown);
    let kubernetes = kubernetes::connect(Some(plane.kubeconfig(USER, &[])), part, CancellationToken::new());
    let address = start(plane, &kubernetes, true);
    drop(entered);
    (runtime, address)
}

/// Starts the services of one process; `auto_accept` is the option `autoAcceptServers`.
pub(crate) fn start(plane: &ControlPlane, kubernetes: &Kubernetes, auto_accept: bool) -> SocketAddr {
    let share = plane.directory().join("share");
    std::fs::create_dir_all(share.join("agent/amd64")).unwrap();
    for file in ["vmlinuz", "initramfs.xz"] {
        std::fs::write(share.join("agent/amd64").join(file), b"x").unwrap();
    }
    std::fs::write(plane.directory().join("id"), json!({ "id": OWN, "epoch": 1 }).to_string()).unwrap();
    std::fs::write(plane.directory().join("key"), PLANE_KEY).unwrap();
    let below = plane.directory().display();
    let args = Args::try_parse_from([
        "bootsvc".to_owned(),
        format!("--share-dir={below}/share"),
        format!("--env-dir={below}/env"),
        format!("--plane-dir={below}"),
        format!("--auto-accept-servers={auto_accept}"),
    ]);
    let (objects, watches) = Objects::watch(kubernetes, |_| || ());
    for watch in watches {
        tokio::spawn(watch);
    }
    let (services, _) = Services::build(&args.unwrap(), kubernetes.clone(), objects).unwrap();
    let listener = serve::bind(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve::run(listener, Context::new(services), CancellationToken::new()));
    ([127, 0, 0, 1], port).into()
}

fn disk_with(found: &[String]) -> pb::StorageDevice {
    let contents = pb::DiskContents { read: true, found: found.to_vec(), ..pb::DiskContents::default() };
    pb::StorageDevice {
        device_name: "/dev/sda".to_owned(),
        contents: Some(contents),
        ..pb::StorageDevice::default()
    }
}

/// Each machine has an address of its own: the services bound what one address may do.
fn source(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

/// A machine on the network.
#[derive(Clone)]
pub(crate) struct Machine {
    source: Ipv4Addr,
    pub(crate) uuid: String,
    pub(crate) serial: String,
    pub(crate) mac: String,
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
    /// What its disk holds; blank if nothing.
    pub(crate) found: Vec<String>,
    /// The order that it was given last.
    pub(crate) order: Arc<Mutex<Vec<u8>>>,
    agent: AgentClient<Channel>,
}

impl Machine {
    /// A machine that reaches the services at `address`.
    pub(crate) async fn new(address: SocketAddr, uuid: &str, number: u16) -> Self {
        let source = source(number);
        let connector =
            tower::service_fn(move |_| async move { connect_from(source, address).await.map(TokioIo::new) });
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let agent = AgentClient::new(endpoint.connect_with_connector(connector).await.unwrap());
        Self {
            source,
            uuid: uuid.to_owned(),
            serial: format!("SN{number}"),
            mac: format!("52:54:00:77:{:02x}:{:02x}", number >> 8, number & 0xff),
            address,
            token: None,
            found: Vec::new(),
            order: Arc::default(),
            agent,
        }
    }

    /// Asks what to boot: the whole answer.
    pub(crate) async fn ask(&self) -> String {
        let mut stream = connect_from(self.source, self.address).await.unwrap();
        let request = format!(
            "GET /ipxe?uuid={}&mac={}&serial={} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.uuid,
            self.mac,
            self.serial.replace(' ', "%20"),
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Boots: from now on it shows the token that came with it.
    pub(crate) async fn boot(&mut self) -> String {
        let answer = self.ask().await;
        self.token = answer
            .split_once(" bloomery.token=")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .map(str::to_owned);
        answer
    }

    /// The same machine, which turns to the services at another address.
    pub(crate) async fn turn_to(self, address: SocketAddr) -> Self {
        let number = u16::from_be_bytes([self.source.octets()[2], self.source.octets()[3]]);
        let Self { agent, .. } = Self::new(address, &self.uuid, number).await;
        Self { address, agent, ..self }
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert(pb::TOKEN_METADATA, token.parse().unwrap());
        }
        request
    }

    pub(crate) async fn register(&self) -> Result<pb::CreateServerResponse, tonic::Status> {
        let system = pb::SystemInformation {
            uuid: self.uuid.to_uppercase(),
            manufacturer: "LabCo".to_owned(),
            serial_number: self.serial.clone(),
            ..Default::default()
        };
        let interfaces = vec![pb::NetworkInterface { mac: self.mac.clone(), ..Default::default() }];
        let hardware = pb::HardwareInformation {
            system: Some(system),
            network: Some(pb::NetworkInformation { interface_count: 1, interfaces }),
            storage: Some(pb::StorageInformation {
                devices: vec![disk_with(&self.found)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let hostname = "node1".to_owned();
        let message = pb::CreateServerRequest { hardware: Some(hardware), hostname, addresses: Vec::new() };
        let told = self.agent.clone().create_server(self.request(message)).await?.into_inner();
        if told.wipe {
            self.order.lock().unwrap().clone_from(&told.order);
        }
        Ok(told)
    }

    pub(crate) async fn report_address(&self, address: &str) -> Result<(), tonic::Status> {
        let address = pb::Address { r#type: "InternalIP".to_owned(), address: address.to_owned() };
        let message = pb::ReconcileServerAddressesRequest { uuid: self.uuid.clone(), address: vec![address] };
        self.agent.clone().reconcile_server_addresses(self.request(message)).await.map(|_| ())
    }

    pub(crate) async fn beat(&self, disks: Vec<pb::DiskProgress>) -> Result<(), tonic::Status> {
        let message = pb::HeartbeatRequest { uuid: self.uuid.clone(), disks };
        self.agent.clone().heartbeat(self.request(message)).await.map(|_| ())
    }

    pub(crate) async fn wiped(&self, disks: Vec<pb::DiskProgress>) -> Result<(), tonic::Status> {
        let order = self.order.lock().unwrap().clone();
        let message = pb::MarkServerAsWipedRequest { uuid: self.uuid.clone(), disks, order };
        self.agent.clone().mark_server_as_wiped(self.request(message)).await.map(|_| ())
    }

    pub(crate) async fn report_bmc(&self, ip: &str, user: &str, pass: &str) -> Result<(), tonic::Status> {
        let (ip, user, pass) = (ip.to_owned(), user.to_owned(), pass.to_owned());
        let info = pb::BmcInfo { ip, user, pass, ..pb::BmcInfo::default() };
        // Sealed to the key that the plane shows to the machine's own agent only.
        let shown = self.register().await?.sealing_key;
        let info = match pb::seal::PlaneKey::verified(&shown, &pb::seal::fingerprint(&shown)) {
            Ok(key) => key.seal(&self.uuid, &info).unwrap(),
            Err(_) => info,
        };
        let message = pb::UpdateBmcInfoRequest { uuid: self.uuid.clone(), bmc_info: Some(info) };
        self.agent.clone().update_bmc_info(self.request(message)).await.map(|_| ())
    }
}
