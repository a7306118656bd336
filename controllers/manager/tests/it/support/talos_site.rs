//! A site with real Cluster API core, and what it needs besides the controllers under test: machines of a made-up infrastructure
//! provider on which fake Talos nodes run. The API server of the test is that of the workload cluster too.

use bloomery_api::TalosControlPlane;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_testkit::talos::TalosCluster;
use bloomery_testkit::{Process, eventually, free_ports};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::bench::Bench;
use super::cluster_api::{self, CLUSTER, NAMESPACE, create, namespaced};
use super::controllers::Controllers;
use super::example::{self, GROUP, VERSION};
use super::managers;

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
        example::define_kinds(&bench).await;
        bench.apply();
        bench.create_idle_defaults().await;
        let controllers = bench.setup.run(&bench.plane).await;
        let [port] = free_ports();
        let core = managers::start_core(&bench, port).await;
        // The secrets are there before the Cluster, so that the nodes are of its authority.
        let library = super::controllers::talos();
        let bundle = library.new_secrets("v1.13").await.unwrap();
        let authorities = library.inspect_secrets(&bundle.clone().into()).await.unwrap();
        let authority = authorities.talos.unwrap();
        let talos = TalosCluster::of(&authority.crt, authority.key.expose());
        secret(&bench, "c-talos", json!({ "bundle": bundle.expose() })).await;
        let (crt, key) = bench.plane.authority.pair();
        secret(&bench, "c-ca", json!({ "tls.crt": crt, "tls.key": key })).await;
        let machines = example::provide(&bench, &talos);
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
        Api::namespaced_with(self.bench.client.clone(), NAMESPACE, &example::resource(kind))
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

async fn secret(bench: &Bench, name: &str, data: Value) {
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": name,
        "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER } }, "stringData": data }))
    .unwrap();
    namespaced::<Secret>(bench).create(&PostParams::default(), &secret).await.unwrap();
}

/// The Cluster.
pub(crate) async fn cluster(site: &TalosSite) -> Cluster {
    namespaced(&site.bench).get(CLUSTER).await.unwrap()
}
