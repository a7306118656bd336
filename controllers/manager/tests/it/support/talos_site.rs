//! A site with real Cluster API core, and what it needs besides the controllers under test: machines of a made-up infrastructure
//! provider on which fake Talos nodes run, and their Node objects. The API server of the test is that of the workload cluster too.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::TalosControlPlane;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_testkit::talos::{TalosCluster, TalosNode};
use bloomery_testkit::{Process, eventually, free_ports, http};
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::bench::Bench;
use super::cluster_api::{self, CLUSTER, NAMESPACE, create, namespaced};
use super::controllers::Controllers;

const GROUP: &str = "infrastructure.cluster.x-k8s.io";
const VERSION: &str = "v1alpha1";
/// How often the machines get on.
const TICK: Duration = Duration::from_millis(200);

/// The site. Its parts end with it.
pub(crate) struct TalosSite {
    pub(crate) bench: Bench,
    _controllers: Controllers,
    pub(crate) talos: TalosCluster,
    _machines: AbortOnDropHandle<()>,
    _core: Process,
}

impl TalosSite {
    /// With Cluster API's core, the controllers, and a Cluster with infrastructure.
    pub(crate) async fn start() -> Self {
        let bench = Bench::start().await;
        cluster_api::install_if(&bench, |name| name.ends_with(".x-k8s.io")).await;
        for kind in ["ExampleMachine", "ExampleMachineTemplate"] {
            define(&bench, kind).await;
        }
        bench.apply();
        bench.create_idle_defaults().await;
        let controllers = bench.setup.run(&bench.plane).await;
        let core = start_core(&bench).await;
        // The secrets are there before the Cluster, so that the nodes are of its authority.
        let library = super::controllers::talos();
        let bundle = library.new_secrets("v1.13").await.unwrap();
        let authorities = library.inspect_secrets(&bundle.clone().into()).await.unwrap();
        let authority = authorities.talos.unwrap();
        let talos = TalosCluster::of(&authority.crt, authority.key.expose());
        secret(&bench, "c-talos", json!({ "bundle": bundle.expose() })).await;
        let (crt, key) = bench.plane.authority.pair();
        secret(&bench, "c-ca", json!({ "tls.crt": crt, "tls.key": key })).await;
        let machines = Machines { client: bench.client.clone(), talos: talos.clone(), nodes: Arc::default() };
        let machines = AbortOnDropHandle::new(tokio::spawn(machines.run()));
        Self { bench, _controllers: controllers, talos, _machines: machines, _core: core }
    }

    /// A Cluster with its control plane.
    pub(crate) async fn create(&self, replicas: i32, endpoint: bool) {
        let bench = &self.bench;
        let port: i32 = bench.plane.server.rsplit_once(':').unwrap().1.parse().unwrap();
        let endpoint = if endpoint { json!({ "host": "127.0.0.1", "port": port }) } else { Value::Null };
        let reference = |group: &str, kind: &str| json!({ "apiGroup": group, "kind": kind, "name": CLUSTER });
        let mut spec = json!({
            "infrastructureRef": reference(GROUP, "MetalCluster"),
            "controlPlaneRef": reference("controlplane.cluster.x-k8s.io", "TalosControlPlane"),
        });
        let mut infrastructure = json!({});
        if endpoint.is_null() {
            infrastructure["controlPlaneEndpoint"] = json!({ "host": "", "port": 0 });
        } else {
            spec["controlPlaneEndpoint"] = endpoint.clone();
            infrastructure["controlPlaneEndpoint"] = endpoint;
        }
        let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
        let named = |name: &str| json!({ "name": name, "labels": labels });
        let version = format!("{GROUP}/{VERSION}");
        let template = json!({ "template": { "spec": { "size": "small" } } });
        create::<Value>(bench, &version, "ExampleMachineTemplate", named("t"), template).await;
        create::<Value>(bench, &format!("{GROUP}/v1alpha3"), "MetalCluster", named(CLUSTER), infrastructure)
            .await;
        let control_plane = json!({
            "replicas": replicas, "version": "v1.36.0",
            "infrastructureTemplate": { "apiVersion": version, "kind": "ExampleMachineTemplate", "name": "t" },
            "controlPlaneConfig": { "controlplane": { "generateType": "controlplane", "talosVersion": "v1.13" } },
        });
        let version = "controlplane.cluster.x-k8s.io/v1alpha3";
        create::<Value>(bench, version, "TalosControlPlane", named(CLUSTER), control_plane).await;
        create::<Value>(bench, "cluster.x-k8s.io/v1beta2", "Cluster", named(CLUSTER), spec).await;
    }

    pub(crate) async fn control_plane(&self) -> TalosControlPlane {
        namespaced(&self.bench).get(CLUSTER).await.unwrap()
    }

    pub(crate) async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let api = namespaced::<TalosControlPlane>(&self.bench);
        api.patch(CLUSTER, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn machines(&self) -> Vec<Machine> {
        let params = ListParams::default().labels("cluster.x-k8s.io/control-plane");
        namespaced::<Machine>(&self.bench).list(&params).await.unwrap().items
    }

    /// Waits until the control plane is as `holds` says.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&TalosControlPlane) -> bool,
    ) -> TalosControlPlane {
        eventually(what, async || {
            let found = self.control_plane().await;
            if holds(&found) {
                return Ok(found);
            }
            let status = serde_json::to_value(&found.status).unwrap();
            Err(format!("{status}\n{:?}\n{:?}", self.talos.members(), self.talos.calls()))
        })
        .await
    }

    /// Waits until that many machines are ready and nothing else is there.
    pub(crate) async fn until_settled(&self, replicas: i32) -> TalosControlPlane {
        let found = self
            .until(&format!("{replicas} replicas are ready"), |found| {
                let Some(status) = &found.status else { return false };
                let counts =
                    [status.replicas, status.ready_replicas, status.up_to_date_replicas.unwrap_or(0)];
                let members = self.talos.members();
                let voters = members.iter().filter(|member| !member.is_learner).count();
                counts == [replicas; 3] && members.len() == voters && i32::try_from(voters) == Ok(replicas)
            })
            .await;
        assert_eq!(self.talos.faults(), Vec::<String>::new());
        found
    }

    /// An object of the made-up provider.
    pub(crate) async fn example(&self, kind: &str, name: &str) -> DynamicObject {
        self.examples(kind).get(name).await.unwrap()
    }

    fn examples(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
        Api::namespaced_with(self.bench.client.clone(), NAMESPACE, &resource)
    }

    /// Takes the owners from a template.
    pub(crate) async fn strip_template(&self, name: &str) {
        let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
        self.examples("ExampleMachineTemplate").patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// What Cluster API says of the Cluster.
    pub(crate) async fn cluster_conditions(&self) -> Vec<Value> {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Cluster"));
        let clusters: Api<DynamicObject> =
            Api::namespaced_with(self.bench.client.clone(), NAMESPACE, &resource);
        let cluster = clusters.get(CLUSTER).await.unwrap();
        cluster.data.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default()
    }
}

/// A condition of contract v1beta2: status and reason.
pub(crate) fn said(found: &TalosControlPlane, type_: &str) -> (String, String) {
    let conditions = found.status.as_ref().map_or(&[][..], |status| &status.v1beta2.conditions);
    let one = conditions.iter().find(|one| one.type_ == type_);
    one.map(|one| (one.status.clone(), one.reason.clone())).unwrap_or_default()
}

async fn define(bench: &Bench, kind: &str) {
    let plural = format!("{}s", kind.to_lowercase());
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}"), "labels": { "cluster.x-k8s.io/v1beta1": VERSION } },
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
            "versions": [{ "name": VERSION, "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    }))
    .unwrap();
    let crds: Api<CustomResourceDefinition> = bench.all();
    crds.create(&PostParams::default(), &crd).await.unwrap();
}

async fn secret(bench: &Bench, name: &str, data: Value) {
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": name,
        "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER } }, "stringData": data }))
    .unwrap();
    namespaced::<Secret>(bench).create(&PostParams::default(), &secret).await.unwrap();
}

async fn start_core(bench: &Bench) -> Process {
    let [webhook, health] = free_ports();
    let directory = bench.plane.directory();
    let certificates = directory.join("core");
    std::fs::create_dir(&certificates).unwrap();
    let identity = bench.plane.authority.issue("core", &[]);
    std::fs::copy(identity.certificate_file, certificates.join("tls.crt")).unwrap();
    std::fs::copy(identity.key_file, certificates.join("tls.key")).unwrap();
    let mut command = Command::new(bloomery_testkit::control_plane::cluster_api());
    command
        .arg(format!("--kubeconfig={}", bench.plane.kubeconfig("capi", &["system:masters"]).display()))
        .args(["--leader-elect=false", "--webhook-host=127.0.0.1", "--diagnostics-address=0"])
        .arg(format!("--webhook-port={webhook}"))
        .arg(format!("--webhook-cert-dir={}", certificates.display()))
        .arg(format!("--health-addr=127.0.0.1:{health}"));
    let mut core = Process::start("cluster-api", directory, &mut command);
    eventually("Cluster API is ready", async || {
        core.assert_running();
        match http::get(health, "/readyz").await? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        }
    })
    .await;
    core
}

/// The made-up infrastructure provider.
struct Machines {
    client: Client,
    talos: TalosCluster,
    nodes: Arc<Mutex<HashMap<String, TalosNode>>>,
}

impl Machines {
    async fn run(self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.talos.settle();
            // Conflicts with others pass.
            if let Err(error) = self.tick().await {
                eprintln!("machines: {error}");
            }
        }
    }

    async fn tick(&self) -> kube::Result<()> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, "ExampleMachine"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let mut wanted = Vec::new();
        for machine in api.list(&ListParams::default()).await?.items {
            let owner = machine.owner_references().iter().find(|owner| owner.kind == "Machine");
            if let Some(owner) = owner.map(|owner| owner.name.clone()) {
                self.provide(&api, &machine, &owner).await?;
                wanted.push(owner);
            }
        }
        // A machine that is gone is off.
        self.nodes.lock().retain(|name, _| wanted.contains(name));
        self.join().await
    }

    async fn provide(
        &self,
        api: &Api<DynamicObject>,
        machine: &DynamicObject,
        owner: &str,
    ) -> kube::Result<()> {
        let name = machine.name_any();
        if machine.metadata.deletion_timestamp.is_some() || machine.data.pointer("/status/ready").is_some() {
            return Ok(());
        }
        // Nothing boots without a configuration.
        let machines: Api<Machine> = Api::namespaced(self.client.clone(), NAMESPACE);
        let Some(of) = machines.get_opt(owner).await? else { return Ok(()) };
        if of.spec.bootstrap.data_secret_name.is_none() {
            return Ok(());
        }
        let known = self.nodes.lock().get(owner).map(|node| node.address.clone());
        let address = if let Some(address) = known {
            address
        } else {
            let node = self.talos.boot(owner).await;
            let address = node.address.clone();
            self.nodes.lock().insert(owner.to_owned(), node);
            address
        };
        let spec = Patch::Merge(json!({ "spec": { "providerID": format!("example://{owner}") } }));
        api.patch(&name, &PatchParams::default(), &spec).await?;
        let addresses =
            json!([{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": owner }]);
        let status = Patch::Merge(json!({ "status": { "ready": true, "addresses": addresses } }));
        api.patch_status(&name, &PatchParams::default(), &status).await.map(drop)
    }

    /// Nodes whose etcd runs have a Node object.
    async fn join(&self) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let known: Vec<String> =
            nodes.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
        let voting: Vec<String> = self
            .nodes
            .lock()
            .values()
            .filter(|node| node.votes())
            .map(|node| node.hostname.clone())
            .collect();
        for name in voting.iter().filter(|name| !known.contains(name)) {
            let node: Node = serde_json::from_value(json!({
                "metadata": { "name": name, "labels": { "node-role.kubernetes.io/control-plane": "" } },
                "spec": { "providerID": format!("example://{name}") },
            }))
            .unwrap();
            nodes.create(&PostParams::default(), &node).await?;
            let now = k8s_openapi::jiff::Timestamp::now().to_string();
            let ready = json!({ "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": now, "lastTransitionTime": now });
            let healthy = ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|type_| {
                json!({ "type": type_, "status": "False", "reason": "Fine",
                    "lastHeartbeatTime": now, "lastTransitionTime": now })
            });
            let conditions: Vec<_> = healthy.into_iter().chain([ready]).collect();
            let status = Patch::Merge(json!({ "status": { "conditions": conditions,
                "nodeInfo": { "kubeletVersion": "v1.36.0" } } }));
            nodes.patch_status(name, &PatchParams::default(), &status).await?;
        }
        for name in known.iter().filter(|name| !self.nodes.lock().contains_key(*name)) {
            // Cluster API deletes it too.
            let _ = nodes.delete(name, &DeleteParams::default()).await;
        }
        Ok(())
    }
}

/// The Cluster.
pub(crate) async fn cluster(site: &TalosSite) -> Cluster {
    namespaced(&site.bench).get(CLUSTER).await.unwrap()
}
