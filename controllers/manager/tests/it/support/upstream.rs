//! Upstream's own Talos providers, unmodified, in the place of ours: their definitions, webhooks and programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use bloomery_testkit::{Process, free_ports};
use k8s_openapi::ByteString;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bench::Bench;
use super::cluster_api::serve;
use super::managers;

/// Names the directory with the programs and, for each, its manifest.
const VARIABLE: &str = "BLOOMERY_UPSTREAM_PROVIDERS";
/// Name of the program that makes machine configurations.
pub(crate) const BOOTSTRAP: &str = "bootstrap";
/// Name of the program that makes control planes.
pub(crate) const CONTROL_PLANE: &str = "controlplane";

/// Installs providers and starts them.
pub(crate) async fn start(bench: &Bench, providers: &[&str]) -> Vec<Process> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/upstream-providers.d");
    let directory = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    let directory = directory.canonicalize().unwrap_or_else(|error| {
        let path = directory.display();
        panic!("{path}: {error}: run `make out/upstream-providers.d`, or name the directory in {VARIABLE}")
    });
    let mut processes = Vec::new();
    for provider in providers {
        let [webhook, health] = free_ports();
        let manifest = std::fs::read_to_string(directory.join(format!("{provider}.yaml"))).unwrap();
        let objects: Vec<Value> = serde_norway::Deserializer::from_str(&manifest)
            .map(|document| Value::deserialize(document).unwrap())
            .filter(Value::is_object)
            .collect();
        // The kinds are there before their controllers, the webhooks after these.
        for object in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
            let crd = serde_json::from_value(at_port(bench, object.clone(), webhook)).unwrap();
            serve(bench, &crd).await;
        }
        processes.push(start_one(bench, &directory, provider, [webhook, health]).await);
        for object in objects {
            let kind = object["kind"].as_str().unwrap();
            if kind.ends_with("WebhookConfiguration") {
                let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
                let api: Api<DynamicObject> =
                    Api::all_with(bench.client.clone(), &ApiResource::from_gvk(&kind));
                let mut object = at_port(bench, object, webhook);
                // Both providers give theirs the same name.
                object["metadata"]["name"] = json!(provider);
                api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
            }
        }
    }
    processes
}

async fn start_one(bench: &Bench, directory: &Path, provider: &str, [webhook, health]: [u16; 2]) -> Process {
    let name = format!("upstream-{provider}");
    let mut command = Command::new(directory.join(provider));
    command
        .arg(format!("--kubeconfig={}", bench.plane.kubeconfig(&name, &["system:masters"]).display()))
        .arg("--diagnostics-address=0")
        .arg(format!("--webhook-port={webhook}"))
        .arg(format!(
            "--webhook-cert-dir={}",
            bench.webhook_certificates(&format!("{name}-webhook")).display()
        ))
        .arg(format!("--health-addr=127.0.0.1:{health}"));
    let mut process = Process::start(&name, bench.plane.directory(), &mut command);
    managers::until_ready(&mut process, &name, health).await;
    process
}

/// The same with every service of a webhook replaced by a port of this host.
fn at_port(bench: &Bench, mut object: Value, port: u16) -> Value {
    let authority = ByteString(std::fs::read(bench.plane.authority.file()).unwrap());
    replace(&mut object, &|service| {
        let path = service["path"].as_str().unwrap();
        json!({ "url": format!("https://127.0.0.1:{port}{path}"), "caBundle": authority })
    });
    object
}

fn replace(value: &mut Value, by: &impl Fn(&Value) -> Value) {
    match value {
        Value::Object(map) => {
            if let Some(service) = map.get("clientConfig").and_then(|config| config.get("service")) {
                let client = by(service);
                map.insert("clientConfig".to_owned(), client);
            }
            map.values_mut().for_each(|value| replace(value, by));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| replace(value, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
