//! The real clusterctl with the repository that the product makes: in the appliance, and in a cluster that has nothing yet.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bloomery_testkit::{Process, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::bench::Bench;
use crate::support::cluster_api::{self, inventory, provider};

/// Names the repository's settings.
const VARIABLE: &str = "BLOOMERY_CLUSTERCTL";

fn settings() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/clusterctl/clusterctl.yaml");
    let path = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    assert!(
        path.exists(),
        "there is no {}: run `make out/clusterctl`, or name its settings in {VARIABLE}",
        path.display()
    );
    path.canonicalize().unwrap()
}

/// The repository's settings, and a cert-manager of two objects beside it: clusterctl would ask the Internet for the real one.
fn settings_with_cert_manager(bench: &Bench) -> PathBuf {
    const VERSION: &str = "v1.21.1";
    let directory = bench.plane.directory().join("repository/cert-manager").join(VERSION);
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("cert-manager.yaml");
    let objects = "apiVersion: v1\nkind: Namespace\nmetadata: {name: cert-manager}\n---\napiVersion: apps/v1\nkind: Deployment\n\
                   metadata: {name: cert-manager, namespace: cert-manager}\nspec: {selector: {matchLabels: {a: b}}, template: \
                   {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: docker.io/library/i:1}]}}}\n";
    std::fs::write(&file, objects).unwrap();
    let mut text = std::fs::read_to_string(settings()).unwrap();
    let section = format!("cert-manager:\n  url: file://{}\n  version: {VERSION}\n", file.display());
    text.push_str(&section);
    let path = bench.plane.directory().join("clusterctl.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn clusterctl(bench: &Bench, arguments: &[&str]) -> Command {
    clusterctl_by(bench, arguments, &settings())
}

fn clusterctl_by(bench: &Bench, arguments: &[&str], settings: &Path) -> Command {
    let mut command = Command::new(bloomery_testkit::control_plane::clusterctl());
    command.args(arguments).arg("--config").arg(settings).arg("--kubeconfig").arg(&bench.plane.admin);
    // It keeps a cache at home, and asks the Internet for newer versions of itself.
    command.env("HOME", bench.plane.directory()).env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// All of Cluster API's definitions with nobody who converts, so that no second program is needed.
async fn bench_with_cluster_api() -> Bench {
    let bench = Bench::start().await;
    bench.apply();
    cluster_api::install_all(&bench).await;
    bench
}

/// Each tries what is refused for 160 s before it says so; with `-v 5` it tells the cause of each try.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_appliance_cannot_do_is_refused_with_what_to_do() {
    let bench = bench_with_cluster_api().await;
    let namespaces: Api<Namespace> = bench.all();
    let crds: Api<CustomResourceDefinition> = bench.all();
    let settings = settings_with_cert_manager(&bench);
    let definitions = async || crds.list(&ListParams::default()).await.unwrap().items.len();
    let before = definitions().await;
    for (name, arguments) in [
        // cert-manager comes first.
        ("init", vec!["init", "--infrastructure", "sidero", "-v", "5"]),
        ("delete", vec!["delete", "--infrastructure", "sidero", "-v", "5"]),
        ("delete-all", vec!["delete", "--all", "--include-crd", "--include-namespace", "-v", "5"]),
    ] {
        let mut command = clusterctl_by(&bench, &arguments, &settings);
        let mut process = Process::start(name, bench.plane.directory(), &mut command);
        eventually("clusterctl tells that this is refused", async || {
            let told = process.output();
            if told.contains("this appliance runs no Deployments") { Ok(()) } else { Err(told) }
        })
        .await;
        process.kill().await;
    }
    assert_eq!(definitions().await, before);
    for (name, there) in [("sidero-system", true), ("cabpt-system", true), ("cert-manager", false)] {
        let found = namespaces.get_opt(name).await.unwrap();
        assert_eq!(found.is_some_and(|one| one.metadata.deletion_timestamp.is_none()), there, "{name}");
    }

    // The first thing that other providers, and newer ones, come with.
    let admin = bench.plane.client("somebody", &["system:masters"]).await;
    let newer = provider("infrastructure-docker", "docker", "InfrastructureProvider", "v1.14.2");
    let refused = Api::<DynamicObject>::namespaced_with(admin.clone(), "default", &inventory())
        .create(&PostParams::default(), &newer)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("`clusterctl move` and `describe` work here"), "{refused}");
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } },
    }))
    .unwrap();
    let refused = Api::<Deployment>::namespaced(admin.clone(), "default")
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("this appliance runs no pods"), "{refused}");
    // Namespaces and definitions of a person's own are a person's own.
    let own: Namespace = serde_json::from_value(json!({ "metadata": { "name": "own" } })).unwrap();
    Api::<Namespace>::all(admin).create(&PostParams::default(), &own).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_generated_and_every_object_of_it_is_taken() {
    let (bench, _controllers) = Bench::with_controllers().await;
    cluster_api::install_all(&bench).await;
    let mut command = clusterctl(&bench, &["generate", "cluster", "c1", "--infrastructure", "sidero"]);
    command.args(["--kubernetes-version", "v1.36.3", "--control-plane-machine-count", "3"]);
    command.args(["--worker-machine-count", "2", "--target-namespace", "default"]);
    let output = command.env("CONTROL_PLANE_ENDPOINT", "10.77.0.50").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let manifest = String::from_utf8(output.stdout).unwrap();
    let mut kinds = Vec::new();
    for document in serde_norway::Deserializer::from_str(&manifest) {
        let object: DynamicObject = serde_json::from_value(Value::deserialize(document).unwrap()).unwrap();
        let types = object.types.clone().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
        let api: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), "default", &resource);
        api.create(&PostParams::default(), &object)
            .await
            .unwrap_or_else(|error| panic!("{types:?}: {error}"));
        kinds.push(types.kind);
    }
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "Cluster",
            "MachineDeployment",
            "MetalCluster",
            "MetalMachineTemplate",
            "MetalMachineTemplate",
            "TalosConfigTemplate",
            "TalosControlPlane"
        ]
    );
    let plan = clusterctl(&bench, &["upgrade", "plan"]).output().unwrap();
    assert!(plan.status.success(), "{}", said(&plan));
    for row in ["infrastructure-sidero", "bootstrap-talos", "control-plane-talos"] {
        assert!(said(&plan).contains(row), "{}", said(&plan));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_puts_all_providers_into_a_cluster_with_pods() {
    let bench = Bench::start().await;
    // cert-manager, as clusterctl finds it: it makes an Issuer and a Certificate to try.
    for (kind, plural) in [("Issuer", "issuers"), ("Certificate", "certificates")] {
        let crd: CustomResourceDefinition = serde_json::from_value(json!({
            "metadata": { "name": format!("{plural}.cert-manager.io") },
            "spec": { "group": "cert-manager.io", "scope": "Namespaced", "names": { "kind": kind, "plural": plural },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] },
        }))
        .unwrap();
        bench.all::<CustomResourceDefinition>().create(&PostParams::default(), &crd).await.unwrap();
    }
    let mut command = clusterctl(&bench, &["init", "--infrastructure", "sidero", "--bootstrap", "talos"]);
    let output = command.args(["--control-plane", "talos", "-v", "5"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let providers: Api<DynamicObject> = Api::all_with(bench.client.clone(), &inventory());
    let mut found: Vec<_> = providers
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(|one| format!("{}/{}", one.namespace().unwrap(), one.name_any()))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "cabpt-system/bootstrap-talos",
            "cacppt-system/control-plane-talos",
            "capi-system/cluster-api",
            "sidero-system/infrastructure-sidero"
        ]
    );
    for (namespace, names) in [
        ("sidero-system", vec!["sidero-boot-services", "sidero-controllers"]),
        ("cabpt-system", vec!["sidero-controllers"]),
        ("cacppt-system", vec!["sidero-controllers"]),
    ] {
        let deployments: Api<Deployment> = Api::namespaced(bench.client.clone(), namespace);
        let listed = deployments.list(&ListParams::default()).await.unwrap();
        let mut listed: Vec<_> = listed.items.iter().map(ResourceExt::name_any).collect();
        listed.sort();
        assert_eq!(listed, names, "{namespace}");
    }
}
