//! A made-up infrastructure provider: its clusters are there at once, and on its machines run fake Talos nodes, which have Node
//! objects in the API server of the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::contract::Machine;
use bloomery_testkit::talos::{TalosCluster, TalosNode};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::bench::Bench;
use super::cluster_api::{NAMESPACE, serve};

/// The group of its kinds.
pub(crate) const GROUP: &str = "infrastructure.cluster.x-k8s.io";
/// Their version.
pub(crate) const VERSION: &str = "v1alpha1";
/// How often the machines get on.
const TICK: Duration = Duration::from_millis(200);

/// Makes its kinds.
pub(crate) async fn define_kinds(bench: &Bench) {
    for kind in ["ExampleCluster", "ExampleMachine", "ExampleMachineTemplate"] {
        define(bench, kind).await;
    }
}

/// Runs it until the handle is dropped.
pub(crate) fn provide(bench: &Bench, talos: &TalosCluster) -> AbortOnDropHandle<()> {
    let machines = Machines { client: bench.client.clone(), talos: talos.clone(), nodes: Arc::default() };
    AbortOnDropHandle::new(tokio::spawn(machines.run()))
}

/// The resource of one of its kinds.
pub(crate) fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

/// Makes a kind of which nobody reads anything but its name.
pub(crate) async fn define(bench: &Bench, kind: &str) {
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
    serve(bench, &crd).await;
}

/// Its machines.
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
        self.found().await?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource("ExampleMachine"));
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

    /// Clusters are there.
    async fn found(&self) -> kube::Result<()> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource("ExampleCluster"));
        for cluster in api.list(&ListParams::default()).await?.items {
            if cluster.data.pointer("/status/ready").is_none() {
                let status = Patch::Merge(json!({ "status": { "ready": true } }));
                api.patch_status(&cluster.name_any(), &PatchParams::default(), &status).await?;
            }
        }
        Ok(())
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
