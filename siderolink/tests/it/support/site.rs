//! The program, beside a real control plane with our kinds, rights and policies.
//!
//! Never outlives its test.

use std::fs::File;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bloomery_api::ServerBinding;
use bloomery_testkit::namespace::until;
use bloomery_testkit::{ControlPlane, eventually};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Discovery};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The plane's address on the machines' network.
pub(crate) const PLANE: &str = "10.77.0.3";
/// Where calls for a tunnel are taken in the tests: there is no boot service in between.
pub(crate) const PROVISION: &str = "10.77.0.3:4000";
/// Name of an installation, and its network.
pub(crate) const INSTALLATION: &str = "test-installation";
pub(crate) const SERVER: &str = "fd1a:417e:7824:ca03::1";
const PRIVATE_KEY: &str = "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY=";
const USER: &str = "bloomery:siderolink";

pub(crate) struct Site {
    child: Option<Child>,
    control: ControlPlane,
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    options: Vec<String>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

impl Site {
    /// Starts the control plane and the program.
    pub(crate) fn start(options: &[&str]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (control, client) = runtime.block_on(async {
            let control = ControlPlane::start().await;
            let client = control.client("admin", &["system:masters"]).await;
            install_kinds(&client).await;
            for file in ["20-rbac.yaml", "25-admission.yaml"] {
                apply(&client, file).await;
            }
            make_secret(&client).await;
            (control, client)
        });
        std::fs::create_dir_all(control.directory().join("logs")).unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut site = Self { child: None, control, client, runtime, options };
        site.start_program();
        site
    }

    /// Starts the program and waits until it is ready.
    pub(crate) fn start_program(&mut self) {
        let below = self.control.directory();
        let log = File::options().append(true).create(true).open(below.join("siderolink.log")).unwrap();
        let kubeconfig = self.control.kubeconfig(USER, &[]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_siderolink"));
        let child = bloomery_sys::process::end_with_starter(&mut command)
            .arg("--confine")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--provision-addr={PROVISION}"))
            .arg(format!("--api-endpoint={PLANE}"))
            .arg(format!("--log-dir={}", below.join("logs").display()))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("the program is ready", 60, || {
            let answer = self.get("/readyz");
            if answer.contains("readyz check passed") {
                Ok(())
            } else {
                Err(format!("{answer}\n{}", self.log()))
            }
        });
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it says over HTTP.
    pub(crate) fn get(&self, path: &str) -> String {
        self.runtime
            .block_on(bloomery_testkit::http::ask(None, 9446, "GET", path, ""))
            .map_or_else(|error| error, |(_, body)| body)
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.control.directory().join("siderolink.log")).unwrap_or_default()
    }

    /// Files of machines' logs.
    pub(crate) fn machine_logs(&self) -> PathBuf {
        self.control.directory().join("logs")
    }

    /// The newer file of a machine's log.
    pub(crate) fn machine_log(&self, name: &str) -> String {
        std::fs::read_to_string(self.machine_logs().join(format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn bindings(&self) -> Api<ServerBinding> {
        Api::all(self.client.clone())
    }

    fn service(&self) -> Client {
        self.runtime.block_on(self.control.client(USER, &[]))
    }

    /// Bindings, as the service may change them.
    pub(crate) fn as_the_service(&self) -> Api<ServerBinding> {
        Api::all(self.service())
    }

    /// Secrets of the plane's namespace, as the service may read them.
    pub(crate) fn secrets_as_the_service(&self) -> Api<Secret> {
        Api::namespaced(self.service(), "sidero-system")
    }

    /// Binds a Server.
    pub(crate) fn bind(&self, name: &str) {
        let binding = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
            "metadata": { "name": name, "annotations": { "example.com/kept": "yes" } },
            "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } },
        });
        let bindings = self.bindings();
        self.runtime.block_on(async {
            bindings.patch(name, &PatchParams::apply("test"), &Patch::Apply(binding)).await.unwrap();
        });
    }

    /// The binding as it is.
    pub(crate) fn binding(&self, name: &str) -> ServerBinding {
        self.runtime.block_on(self.bindings().get(name)).unwrap()
    }

    /// The address that a binding holds.
    pub(crate) fn address(&self, name: &str) -> Ipv6Addr {
        let link = self.binding(name).spec.siderolink.unwrap();
        link.address.split_once('/').unwrap().0.parse().unwrap()
    }
}

async fn install_kinds(client: &Client) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controllers/api/crds");
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut kind: Value = serde_norway::from_str(&text).unwrap();
        // The conversion webhook belongs to the controllers, which do not run here.
        kind["spec"].as_object_mut().unwrap().remove("conversion");
        let kind = serde_json::from_value(kind).unwrap();
        kinds.create(&PostParams::default(), &kind).await.unwrap();
    }
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    eventually("kinds served", async || {
        bindings.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// Applies a manifest of the controllers.
async fn apply(client: &Client, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controllers/manager/manifests").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    for document in text.split("\n---\n") {
        let Ok(object) = serde_norway::from_str::<DynamicObject>(document) else { continue };
        let types = object.types.clone().unwrap();
        let kind = GroupVersionKind::try_from(&types).unwrap();
        eventually("a manifest is applied", async || {
            let discovery = Discovery::new(client.clone()).run().await.map_err(|error| error.to_string())?;
            let (resource, capabilities) = discovery.resolve_gvk(&kind).ok_or("unknown kind")?;
            let api =
                api(client, &resource, capabilities.scope == kube::discovery::Scope::Namespaced, &object);
            let name = object.metadata.name.as_deref().unwrap();
            let params = PatchParams::apply("test").force();
            api.patch(name, &params, &Patch::Apply(&object))
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }
}

fn api(
    client: &Client,
    resource: &ApiResource,
    is_namespaced: bool,
    object: &DynamicObject,
) -> Api<DynamicObject> {
    match &object.metadata.namespace {
        Some(namespace) if is_namespaced => Api::namespaced_with(client.clone(), namespace, resource),
        _ => Api::all_with(client.clone(), resource),
    }
}

async fn make_secret(client: &Client) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "sidero-system");
    let secret = serde_json::from_value(json!({
        "metadata": { "name": "siderolink" },
        "stringData": { "installation-id": INSTALLATION, "private-key": PRIVATE_KEY },
    }));
    secrets.create(&PostParams::default(), &secret.unwrap()).await.unwrap();
}
