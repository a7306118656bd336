//! TalosConfigs with the Machines and Clusters that they are for, as Cluster API makes them, and what became of them.

use std::collections::BTreeMap;

use bloomery_api::TalosConfig;
use bloomery_api::contract::{Cluster, Machine};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bench::Bench;
use super::cluster_api;
use super::controllers::Controllers;
use bloomery_testkit::eventually;

/// Kubernetes version of all machines.
const KUBERNETES: &str = "v1.34.2";

/// A namespace to make things in.
pub(crate) struct Place<'a> {
    bench: &'a Bench,
    /// Its name.
    pub(crate) namespace: String,
}

/// A control plane with all kinds and the controllers running.
pub(crate) async fn start() -> (Bench, Controllers) {
    let bench = Bench::start().await;
    bench.apply();
    cluster_api::install_all(&bench).await;
    bench.create_idle_defaults().await;
    let controllers = bench.setup.run(&bench.plane).await;
    (bench, controllers)
}

impl<'a> Place<'a> {
    pub(crate) async fn new(bench: &'a Bench, namespace: &str) -> Self {
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::<Namespace>::all(bench.client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { bench, namespace: namespace.to_owned() }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.bench.client.clone(), &self.namespace)
    }

    /// Objects of a kind without a type.
    pub(crate) fn dynamic(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.bench.client.clone(), &self.namespace, resource)
    }

    /// Creates an object by its JSON form, with its status if it has one, and gives it back as it is then.
    pub(crate) async fn create(&self, mut object: Value) -> Value {
        let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
        let api = self.dynamic(&ApiResource::from_gvk(&kind));
        object["metadata"]["namespace"] = json!(self.namespace);
        let status = object.as_object_mut().unwrap().remove("status");
        let parsed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let made = eventually(&format!("{} is made: {object}", kind.kind), async || {
            // Webhooks come up with the controllers.
            api.create(&PostParams::default(), &parsed).await.map_err(|error| error.to_string())
        })
        .await;
        let Some(status) = status else { return serde_json::to_value(made).unwrap() };
        let patch = Patch::Merge(json!({ "status": status }));
        serde_json::to_value(
            api.patch_status(&made.name_any(), &PatchParams::default(), &patch).await.unwrap(),
        )
        .unwrap()
    }

    /// A Cluster whose infrastructure is there.
    pub(crate) async fn cluster(&self, name: &str) -> Value {
        self.create(
            json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": name },
            "spec": { "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 } },
            "status": { "initialization": { "infrastructureProvisioned": true } } }),
        )
        .await
    }

    /// A Machine of that Cluster and its TalosConfig, both of that name.
    pub(crate) async fn machine(&self, cluster: &str, name: &str, spec: Value) {
        let machine = self.machine_alone(cluster, name, &spec).await;
        self.config(cluster, name, spec, Some(&machine)).await;
    }

    pub(crate) async fn machine_alone(&self, cluster: &str, name: &str, spec: &Value) -> Value {
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": cluster });
        if ["init", "controlplane"].contains(&spec["generateType"].as_str().unwrap()) {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        }
        let reference = |group: &str, kind: &str| json!({ "apiGroup": group, "kind": kind, "name": name });
        let of_infrastructure = reference("infrastructure.cluster.x-k8s.io", "MetalMachine");
        let bootstrap = json!({ "configRef": reference("bootstrap.cluster.x-k8s.io", "TalosConfig") });
        self.create(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name, "labels": labels },
            "spec": { "clusterName": cluster, "version": KUBERNETES, "bootstrap": bootstrap,
                "infrastructureRef": of_infrastructure } }))
            .await
    }

    pub(crate) async fn config(&self, cluster: &str, name: &str, spec: Value, owner: Option<&Value>) {
        let owners: Vec<_> = owner.map(reference_to).into_iter().collect();
        let labels = json!({ "cluster.x-k8s.io/cluster-name": cluster });
        self.create(json!({ "apiVersion": "bootstrap.cluster.x-k8s.io/v1alpha3", "kind": "TalosConfig",
            "metadata": { "name": name, "labels": labels, "ownerReferences": owners }, "spec": spec }))
            .await;
    }

    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&TalosConfig) -> bool,
    ) -> TalosConfig {
        let configs: Api<TalosConfig> = self.api();
        eventually(&format!("{}/{name}: {what}", self.namespace), async || {
            let config = configs.get(name).await.map_err(|error| error.to_string())?;
            if holds(&config) { Ok(config) } else { Err(serde_json::to_string(&config.status).unwrap()) }
        })
        .await
    }

    pub(crate) async fn until_ready(&self, name: &str) -> TalosConfig {
        self.until(name, "it is ready", |config| {
            let told = told(config);
            told.contains(&"Ready True".to_owned()) && told.contains(&"ClientConfigAvailable True".to_owned())
        })
        .await
    }

    /// All Secrets by their names.
    pub(crate) async fn secrets(&self) -> BTreeMap<String, Secret> {
        let all = self.api::<Secret>().list(&ListParams::default()).await.unwrap();
        all.items.into_iter().map(|secret| (secret.name_any(), secret)).collect()
    }

    pub(crate) async fn text(&self, secret: &str, key: &str) -> String {
        let secret = self.api::<Secret>().get(secret).await.unwrap();
        text(&secret, key)
    }

    pub(crate) async fn patch<K>(&self, name: &str, change: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
    }

    pub(crate) async fn patch_status<K>(&self, name: &str, status: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let change = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &change).await.unwrap();
    }

    /// What is known of the machine's addresses.
    pub(crate) async fn addresses(&self, machine: &str, addresses: &[(&str, &str)]) {
        let list: Vec<_> =
            addresses.iter().map(|(type_, address)| json!({ "type": type_, "address": address })).collect();
        self.patch_status::<Machine>(machine, json!({ "addresses": list })).await;
    }

    pub(crate) async fn pause(&self, cluster: &str, paused: Option<bool>) {
        self.patch::<Cluster>(cluster, json!({ "spec": { "paused": paused } })).await;
    }
}

/// A spec of that type, for a version with two documents.
pub(crate) fn of_type(type_: &str) -> Value {
    json!({ "generateType": type_, "talosVersion": "v1.13" })
}

pub(crate) fn reference_to(object: &Value) -> Value {
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true })
}

pub(crate) fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().unwrap().get(key);
    let data = data.unwrap_or_else(|| panic!("{} has no key {key}", secret.name_any()));
    String::from_utf8(data.0.clone()).unwrap()
}

/// Conditions of contract v1beta1 in a line each, in the order of their names.
pub(crate) fn told(config: &TalosConfig) -> Vec<String> {
    let conditions = config.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let mut all: Vec<String> = conditions
        .iter()
        .map(|one| {
            let parts = [&one.type_, one.status.as_str(), &one.severity, &one.reason, one.message.trim_end()];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    all.sort();
    all
}

/// Status and reason of a condition of contract v1beta2.
pub(crate) fn newer(config: &TalosConfig, type_: &str) -> String {
    let conditions = config.status.as_ref().map_or(&[][..], |status| &status.v1beta2_status.conditions);
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map_or_else(String::new, |found| format!("{} {}", found.status, found.reason))
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}
