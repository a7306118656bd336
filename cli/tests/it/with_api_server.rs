//! `bloomery status` against a real API server, with the certificate that pairing gave and the right to list alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use bloomery_testkit::control_plane::{apiserver, start_etcd};
use bloomery_testkit::{Process, eventually, free_ports};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::run::bloomery;
use crate::site::{SERVER_NAME, Site};

/// Names the file with Cluster API's manifest.
const VARIABLE: &str = "BLOOMERY_CLUSTER_API";
/// The kinds that are shown.
const KINDS: [&str; 6] = [
    "clusters.cluster.x-k8s.io",
    "machines.cluster.x-k8s.io",
    "metalmachines.infrastructure.cluster.x-k8s.io",
    "serverbindings.infrastructure.cluster.x-k8s.io",
    "talosconfigs.bootstrap.cluster.x-k8s.io",
    "servers.metal.sidero.dev",
];
const CORE: &str = "cluster.x-k8s.io/v1beta2";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";

/// An appliance and a Kubernetes API that know the same people.
struct Plane {
    _site: Site,
    kubeconfig: String,
    admin: Client,
    _apiserver: Process,
    _etcd: Process,
}

impl Plane {
    /// The person who paired may list the kinds that are shown, and do nothing else.
    async fn start() -> Self {
        let site = Site::start().await;
        let [store, peers, port] = free_ports();
        let kubeconfig = site.path("kubeconfig").display().to_string();
        let (endpoint, code) = (site.endpoint().to_string(), site.code().to_string());
        let api_port = port.to_string();
        let arguments = ["kubeconfig", "--endpoint", &endpoint, "--code", &code, "--output", &kubeconfig];
        let run = bloomery(&[&arguments[..], &["--api-port", &api_port]].concat(), "").await;
        assert!(run.success, "{}", run.stderr);
        let people = std::fs::read_to_string(site.path("pairings.crt")).unwrap();
        std::fs::write(site.path("clients.crt"), format!("{}{people}", site.authority.pem())).unwrap();
        let (etcd, apiserver) = start(&site, [store, peers, port]);
        let admin = admin(&site, port).await;
        let plane = Self { _site: site, kubeconfig, admin, _apiserver: apiserver, _etcd: etcd };
        plane.grant_lists().await;
        plane
    }

    async fn grant_lists(&self) {
        let rules: Vec<Value> = KINDS
            .iter()
            .map(|kind| {
                let (plural, group) = kind.split_once('.').unwrap();
                json!({ "apiGroups": [group], "resources": [plural], "verbs": ["list"] })
            })
            .collect();
        let role: ClusterRole =
            serde_json::from_value(json!({ "metadata": { "name": "lists" }, "rules": rules })).unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": "lists" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lists" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "bloomery:admins" }],
        }))
        .unwrap();
        let cluster_roles: Api<ClusterRole> = Api::all(self.admin.clone());
        eventually("the API server takes a role", async || {
            cluster_roles.create(&PostParams::default(), &role).await.map_err(|error| error.to_string())
        })
        .await;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
        bindings.create(&PostParams::default(), &binding).await.unwrap();
    }

    /// Defines the kinds. Nothing converts them.
    async fn define(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = || root.join("../out/cluster-api.yaml");
        let cluster_api = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
        let own = std::fs::read_dir(root.join("../controllers/api/crds")).unwrap();
        let files = own.map(|entry| entry.unwrap().path()).chain([cluster_api]);
        let crds: Api<CustomResourceDefinition> = Api::all(self.admin.clone());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
                panic!(
                    "{}: {error}: run `make out/cluster-api.yaml`, or name it in {VARIABLE}",
                    file.display()
                )
            });
            for document in serde_norway::Deserializer::from_str(&text) {
                let mut object = Value::deserialize(document).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if object["kind"] != "CustomResourceDefinition" || !KINDS.contains(&name.as_str()) {
                    continue;
                }
                object["spec"]["conversion"] = json!({ "strategy": "None" });
                let crd: CustomResourceDefinition = serde_json::from_value(object).unwrap();
                crds.create(&PostParams::default(), &crd).await.unwrap();
            }
        }
    }

    async fn create(&self, api_version: &str, kind: &str, name: &str, spec: Value, status: Value) {
        let (group, version) = api_version.split_once('/').unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = if ["Server", "ServerBinding"].contains(&kind) {
            Api::all_with(self.admin.clone(), &resource)
        } else {
            Api::namespaced_with(self.admin.clone(), "default", &resource)
        };
        let mut object = DynamicObject::new(name, &resource);
        object.data = json!({ "spec": spec });
        eventually("the kind is served", async || {
            api.create(&PostParams::default(), &object).await.map_err(|error| error.to_string())
        })
        .await;
        let status = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    /// A Cluster with a Machine that has a Server and one that waits for one.
    async fn create_cluster(&self) {
        let spec = json!({ "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io",
            "kind": "MetalCluster", "name": "lab" } });
        let waiting =
            condition("WorkersAvailable", "False", "NotAvailable", "1 of 2 machines is not available");
        let status = json!({ "conditions": [condition("InfrastructureReady", "True", "Ready", ""), waiting],
            "workers": { "desiredReplicas": 2, "readyReplicas": 1 } });
        self.create(CORE, "Cluster", "lab", spec, status).await;
        let ready =
            json!({ "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-30T09:00:00Z" });
        let short = json!({ "type": "Ready", "status": "False", "severity": "Info", "reason": "WaitingForServer",
            "message": "no Server of ServerClass any is free: 1 in use", "lastTransitionTime": "2026-11-30T09:00:00Z" });
        let server = "4c4c4544-0042-3510-8054-b4c04f565831";
        let done = json!({ "phase": "Running", "nodeRef": { "name": "node-1" },
            "conditions": [condition("Ready", "True", "Ready", "")] });
        let early = json!({ "phase": "Provisioning",
            "conditions": [condition("Ready", "False", "NotReady", "late words")] });
        for (name, phase, metal, status) in [
            (
                "lab-1",
                done,
                json!({ "serverRef": { "name": server } }),
                json!({ "ready": true, "conditions": [ready] }),
            ),
            ("lab-2", early, json!({}), json!({ "ready": false, "conditions": [short] })),
        ] {
            let spec = json!({ "clusterName": "lab", "bootstrap": { "dataSecretName": name },
                "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachine",
                    "name": name } });
            self.create(CORE, "Machine", name, spec, phase).await;
            self.create(INFRASTRUCTURE, "MetalMachine", name, metal, status).await;
        }
        let claim =
            json!({ "metalMachineRef": { "kind": "MetalMachine", "namespace": "default", "name": "lab-1" } });
        self.create(INFRASTRUCTURE, "ServerBinding", server, claim, json!({ "ready": true })).await;
    }

    async fn status(&self, format: &str) -> String {
        let run = bloomery(&["status", "--kubeconfig", &self.kubeconfig, "-o", format], "").await;
        assert!(run.success, "{}", run.stderr);
        run.stdout
    }
}

fn start(site: &Site, [store, peers, port]: [u16; 3]) -> (Process, Process) {
    let directory = site.directory.path();
    let etcd = start_etcd(directory, store, peers);
    let (private, public) = bloomery_testkit::pki::Authority::new(directory).service_account_keys();
    let file = |name: &str| site.path(name).display().to_string();
    let mut command: Command = apiserver(store, port);
    command.args([
        format!("--client-ca-file={}", file("clients.crt")),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        format!("--service-account-key-file={}", public.display()),
        format!("--service-account-signing-key-file={}", private.display()),
    ]);
    (etcd, Process::start("kube-apiserver", directory, &mut command))
}

/// Somebody who may do everything.
async fn admin(site: &Site, port: u16) -> Client {
    let leaf = site.authority.client("root", "system:masters");
    let data = |pem: &str| data_encoding::BASE64.encode(pem.as_bytes());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("https://127.0.0.1:{port}"),
            "tls-server-name": SERVER_NAME, "certificate-authority-data": data(&site.authority.pem()) } }],
        "users": [{ "name": "test", "user": { "client-certificate-data": data(&leaf.certificate),
            "client-key-data": data(&leaf.key.serialize_pem()) } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    let kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-30T09:00:00Z" })
}

#[tokio::test]
async fn status_shows_what_clusters_and_machines_wait_for_and_needs_the_right_to_list_alone() {
    let plane = Plane::start().await;
    // Before `controllers apply` there are no kinds.
    let report: Value = serde_json::from_str(&plane.status("json").await).unwrap();
    assert_eq!(report["clusters"], json!([]), "{report}");
    assert!(report["serversError"].as_str().unwrap().starts_with("failed to list the servers"), "{report}");
    plane.define().await;
    plane.create_cluster().await;
    let report: Value = serde_json::from_str(&plane.status("json").await).unwrap();
    let cluster = &report["clusters"][0];
    assert_eq!((&cluster["name"], &cluster["namespace"]), (&json!("lab"), &json!("default")), "{report}");
    assert_eq!(cluster["workers"], json!({ "desired": 2, "ready": 1 }), "{report}");
    assert_eq!(cluster["waitsFor"]["reason"], "NotAvailable", "{report}");
    assert_eq!(cluster["machines"][0]["waitsFor"], Value::Null, "{report}");
    assert_eq!(cluster["machines"][0]["node"], "node-1", "{report}");
    assert_eq!(cluster["machines"][1]["waitsFor"]["reason"], "WaitingForServer", "{report}");
    let text = plane.status("text").await;
    for line in [
        "CLUSTER      CONTROL PLANE  WORKERS  WAITS FOR                   AGE\n\
         default/lab  -              1 of 2   its workers (NotAvailable)  ",
        "default/lab-1  worker  Running       4c4c4544-0042-3510-8054-b4c04f565831  nothing                      ",
        "default/lab-2  worker  Provisioning  -                                     a Server (WaitingForServer)  ",
        "\ndefault/lab: 1 of 2 machines is not available\n",
        "\ndefault/lab-2: no Server of ServerClass any is free: 1 in use\n",
        "No machine has registered yet.\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("late words"), "{text}");
}
