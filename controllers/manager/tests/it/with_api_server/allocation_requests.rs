//! What it costs the API server to give machines their Servers, by its own count.

use std::collections::BTreeMap;

use bloomery_api::contract::Machine;
use bloomery_api::{MetalMachine, ServerBinding};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::metal_machines::{VIP, class, clean, name_of, of_class, start};
use crate::support::bench::Bench;
use crate::support::cluster_api::{CLUSTER, cluster, create, namespaced, provisioned};
use bloomery_testkit::eventually;

const MACHINES: usize = 40;
/// What it takes until a machine has its Server, without the words on it: finalizer and lease, the binding, the Server
/// after it, the machine's Server.
const ALLOCATION: [&str; 5] = [
    "GET servers",
    "POST serverbindings",
    "DELETE serverbindings",
    "PATCH metalmachines",
    "GET metalmachines",
];
const EACH: usize = 4;
/// Writes that may meet a newer version of their object and are made again, in all.
const AGAIN: usize = 4;
/// Those words: on the Server, and on the configuration that waits for bootstrap data.
const STATUS: &str = "PATCH metalmachines/status";
const EACH_STATUS: usize = 2;

/// Requests that were answered so far, by verb and resource.
async fn answered(bench: &Bench) -> BTreeMap<String, usize> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = bench.client.request_text(request).await.unwrap();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let Some((labels, count)) =
            line.strip_prefix("apiserver_request_total{").and_then(|rest| rest.rsplit_once("} "))
        else {
            continue;
        };
        let label = |name: &str| {
            let start = labels.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
            labels[start..].split('"').next().unwrap()
        };
        let subresource = Some(label("subresource")).filter(|part| !part.is_empty());
        let subresource = subresource.map_or_else(String::new, |part| format!("/{part}"));
        let name = format!("{} {}{subresource}", label("verb"), label("resource"));
        *counts.entry(name).or_default() += count.trim().parse::<usize>().unwrap();
    }
    counts
}

fn is_provided(machine: &MetalMachine) -> bool {
    machine.server_name().is_some() && machine.status.as_ref().is_some_and(|status| status.ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_costs_six_requests_and_no_binding_is_undone() {
    let (bench, _controllers) = start().await;
    class(&bench, "all", &["r1"]).await;
    let servers: Vec<String> = (1..=MACHINES).map(name_of).collect();
    futures::future::join_all(servers.iter().map(|name| clean(&bench, name, "r1"))).await;
    cluster(&bench, VIP).await;
    provisioned(&bench).await;
    // Its Machine is there before a MetalMachine has an owner, as with Cluster API.
    let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
    let names: Vec<String> = (0..MACHINES).map(|number| format!("m{number:02}")).collect();
    let mut owners: Vec<Machine> = Vec::new();
    for name in &names {
        let spec = json!({ "clusterName": CLUSTER, "bootstrap": { "dataSecretName": "data" },
            "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachine",
                "name": name } });
        let meta = json!({ "name": name, "labels": labels });
        owners.push(create(&bench, "cluster.x-k8s.io/v1beta2", "Machine", meta, spec).await);
    }
    let before = answered(&bench).await;
    let made = owners.iter().map(|owner| {
        let owner = json!([{ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": owner.name_any(),
            "uid": owner.uid().unwrap(), "controller": true, "blockOwnerDeletion": true }]);
        let name = owner[0]["name"].clone();
        let meta = json!({ "name": name, "labels": labels, "ownerReferences": owner });
        create::<MetalMachine>(
            &bench,
            "infrastructure.cluster.x-k8s.io/v1alpha3",
            "MetalMachine",
            meta,
            of_class("all"),
        )
    });
    futures::future::join_all(made).await;
    let machines: Api<MetalMachine> = namespaced(&bench);
    eventually("all machines have Servers", async || {
        let all = machines.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let count = all.iter().filter(|machine| is_provided(machine)).count();
        if count == MACHINES { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    let after = answered(&bench).await;
    let since = |name: &str| {
        let count = |counts: &BTreeMap<String, usize>| counts.get(name).copied().unwrap_or_default();
        count(&after) - count(&before)
    };
    let asked: BTreeMap<&str, usize> = ALLOCATION.into_iter().map(|name| (name, since(name))).collect();
    assert!(asked.values().sum::<usize>() <= EACH * MACHINES + AGAIN, "{asked:?}");
    assert!(asked["POST serverbindings"] >= MACHINES && asked["GET servers"] >= MACHINES, "{asked:?}");
    assert_eq!(asked["DELETE serverbindings"], 0, "a binding was undone");
    assert!(since(STATUS) <= EACH_STATUS * MACHINES, "{}", since(STATUS));
    // A machine whose binding no cache has seen yet has its Server all the same.
    let events: Api<Event> = namespaced(&bench);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let notes: Vec<_> = events.iter().filter_map(|event| event.message.as_deref()).collect();
    assert!(notes.iter().any(|note| note.contains("is allocated via serverclass")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("was not free")), "{notes:?}");
    let bindings: Api<ServerBinding> = bench.all();
    assert_eq!(bindings.list(&ListParams::default()).await.unwrap().items.len(), MACHINES);
}
