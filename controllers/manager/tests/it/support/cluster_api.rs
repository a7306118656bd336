//! Clusters and Machines as Cluster API makes them, without Cluster API: its definitions, and objects in each state.

use std::path::{Path, PathBuf};

use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::{MetalCluster, MetalMachine};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition,
};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bench::Bench;
use bloomery_testkit::eventually;

/// Names the file with Cluster API's manifest.
const VARIABLE: &str = "BLOOMERY_CLUSTER_API";
/// Where all objects are.
pub(crate) const NAMESPACE: &str = "default";
/// The Cluster of all objects.
pub(crate) const CLUSTER: &str = "c";

/// Makes the kinds that are read here. Nothing converts them: the versions are alike in what is read.
pub(crate) async fn install(bench: &Bench) {
    install_if(bench, |name| ["clusters.cluster.x-k8s.io", "machines.cluster.x-k8s.io"].contains(&name))
        .await;
}

/// Makes all kinds of Cluster API, and its entry in clusterctl's inventory. Nothing converts them.
pub(crate) async fn install_all(bench: &Bench) {
    install_if(bench, |name| name.ends_with(".x-k8s.io")).await;
    let client = bench.plane.client("bloomery:apply", &["system:masters"]).await;
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": "capi-system" } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let core = provider("cluster-api", "cluster-api", "CoreProvider", "v1.14.2");
    let inventory: Api<DynamicObject> = Api::namespaced_with(client, "capi-system", &inventory());
    inventory.create(&PostParams::default(), &core).await.unwrap();
}

/// clusterctl's inventory.
pub(crate) fn inventory() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("clusterctl.cluster.x-k8s.io", "v1alpha3", "Provider"))
}

/// An entry of clusterctl's inventory, under clusterctl's name of the provider.
pub(crate) fn provider(entry: &str, name: &str, kind: &str, version: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "clusterctl.cluster.x-k8s.io/v1alpha3", "kind": "Provider",
        "metadata": { "name": entry, "labels": { "cluster.x-k8s.io/provider": entry,
            "clusterctl.cluster.x-k8s.io": "", "clusterctl.cluster.x-k8s.io/core": "inventory" } },
        "providerName": name, "type": kind, "version": version,
    }))
    .unwrap()
}

/// Makes all kinds of Cluster API; its core converts their versions at this port.
pub(crate) async fn install_converted(bench: &Bench, port: u16) {
    let authority = std::fs::read(bench.plane.authority.file()).unwrap();
    let conversion = serde_json::from_value(json!({ "strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": { "url": format!("https://127.0.0.1:{port}/convert"), "caBundle": ByteString(authority) },
    } }))
    .unwrap();
    install_with(bench, |name| name.ends_with(".x-k8s.io"), &conversion).await;
}

pub(crate) async fn install_if(bench: &Bench, wanted: impl Fn(&str) -> bool) {
    let nobody = CustomResourceConversion { strategy: "None".to_owned(), webhook: None };
    install_with(bench, wanted, &nobody).await;
}

async fn install_with(bench: &Bench, wanted: impl Fn(&str) -> bool, conversion: &CustomResourceConversion) {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/cluster-api.yaml");
    let path = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}: run `make out/cluster-api.yaml`, or name the file in {VARIABLE}", path.display())
    });
    for document in serde_norway::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if object["kind"] != "CustomResourceDefinition" || !wanted(&name) {
            continue;
        }
        let mut crd: CustomResourceDefinition = serde_json::from_value(object).unwrap();
        crd.spec.conversion = Some(conversion.clone());
        serve(bench, &crd).await;
    }
}

/// Makes a kind and waits until it is served.
pub(crate) async fn serve(bench: &Bench, crd: &CustomResourceDefinition) {
    let crds: Api<CustomResourceDefinition> = bench.all();
    crds.create(&PostParams::default(), crd).await.unwrap();
    eventually("the kind is served", async || {
        let crd = crds.get(&crd.name_any()).await.map_err(|error| error.to_string())?;
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        let served = conditions.iter().any(|one| one.type_ == "Established" && one.status == "True");
        if served { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await;
}

pub(crate) fn namespaced<K>(bench: &Bench) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(bench.client.clone(), NAMESPACE)
}

/// A Cluster and its MetalCluster.
pub(crate) async fn cluster(bench: &Bench, endpoint: &str) -> Cluster {
    let reference =
        json!({ "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalCluster", "name": CLUSTER });
    let spec =
        json!({ "infrastructureRef": reference, "controlPlaneEndpoint": { "host": endpoint, "port": 6443 } });
    let made: Cluster =
        create(bench, "cluster.x-k8s.io/v1beta2", "Cluster", json!({ "name": CLUSTER }), spec).await;
    let meta = json!({ "name": CLUSTER, "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER },
        "ownerReferences": [owner("Cluster", &made)] });
    let spec =
        json!({ "controlPlaneEndpoint": { "host": endpoint, "port": 6443 }, "failureDomainLabel": "rack" });
    create::<MetalCluster>(bench, "infrastructure.cluster.x-k8s.io/v1alpha3", "MetalCluster", meta, spec)
        .await;
    made
}

/// Says that the infrastructure of the Cluster is there, as Cluster API does once the MetalCluster says so.
pub(crate) async fn provisioned(bench: &Bench) {
    let status = json!({ "status": { "initialization": { "infrastructureProvisioned": true } } });
    namespaced::<Cluster>(bench)
        .patch_status(CLUSTER, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// A Machine and its MetalMachine.
pub(crate) async fn machine(bench: &Bench, name: &str, spec: Value, data: Option<&str>) -> MetalMachine {
    let reference =
        json!({ "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachine", "name": name });
    let bootstrap = match data {
        Some(data) => json!({ "dataSecretName": data }),
        None => {
            json!({ "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "TalosConfig", "name": name } })
        }
    };
    let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
    let owner_spec =
        json!({ "clusterName": CLUSTER, "bootstrap": bootstrap, "infrastructureRef": reference });
    let meta = json!({ "name": name, "labels": labels });
    let made: Machine = create(bench, "cluster.x-k8s.io/v1beta2", "Machine", meta, owner_spec).await;
    let meta = json!({ "name": name, "labels": labels, "ownerReferences": [owner("Machine", &made)] });
    create(bench, "infrastructure.cluster.x-k8s.io/v1alpha3", "MetalMachine", meta, spec).await
}

fn owner<K: ResourceExt>(kind: &str, object: &K) -> Value {
    json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "name": object.name_any(),
        "uid": object.uid().unwrap(), "controller": true, "blockOwnerDeletion": true })
}

/// Creates an object by its JSON form: the types that are read have few of its fields.
pub(crate) async fn create<K>(bench: &Bench, api_version: &str, kind: &str, meta: Value, spec: Value) -> K
where
    K: serde::de::DeserializeOwned,
{
    let (group, version) = api_version.split_once('/').unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let object: DynamicObject = serde_json::from_value(
        json!({ "apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec }),
    )
    .unwrap();
    let api: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), NAMESPACE, &resource);
    let made = eventually("the object is made", async || {
        // Webhooks come up with the controllers.
        api.create(&PostParams::default(), &object).await.map_err(|error| error.to_string())
    })
    .await;
    serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap()
}
