//! TalosControlPlanes beside upstream's control-plane provider (CACPPT, the version in tests/upstream/controlplane/go.mod), on nodes
//! that speak the Talos API: the same objects in, the same objects, Secrets and status out, but for what stands in one table.

use std::time::Duration;

use bloomery_api::TalosControlPlane;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_testkit::scaled;
use bloomery_testkit::talos::TalosCluster;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::cluster_api::{CLUSTER, NAMESPACE, create, namespaced};
use crate::support::controllers::talos;
use crate::support::differential::{Accepted, Fresh, Pair, Plane, Table};
use crate::support::example::{GROUP, VERSION};
use crate::support::upstream;

/// What is meant to differ.
const ACCEPTED: &[Accepted] = &[
    Accepted::ours("* > TalosControlPlane c > metadata > annotations", ONE_ETCD),
    Accepted::ours("* > TalosControlPlane c > status > availableReplicas", NEWER_CONTRACT),
    Accepted::ours("* > TalosControlPlane c > status > upToDateReplicas", NEWER_CONTRACT),
    Accepted::ours(
        "* > TalosControlPlane c > status > updatedReplicas",
        "a ClusterClass of contract v1beta1 waits for it",
    ),
    Accepted::ours("* > TalosControlPlane c > status > versions", NEWER_CONTRACT),
    Accepted::ours("* > TalosControlPlane c > status > initialization", NEWER_CONTRACT),
    Accepted::ours("* > TalosControlPlane c > status > v1beta2", NEWER_CONTRACT),
    Accepted::ours("* > * > status > v1beta2Status", NEWER_CONTRACT),
    Accepted::ours("* > * > status > UpToDate", NEWER_CONTRACT),
    Accepted::ours("* > Secret c-ca > metadata > ownerReferences", GIVEN),
    Accepted::ours("* > Secret c-talos > metadata > ownerReferences", GIVEN),
    Accepted::both(
        "* > Secret c-talosconfig > metadata > ownerReferences > Cluster c > apiVersion",
        (NEWER, OLDER),
        DROPPED,
    ),
    Accepted::both(
        "* > ExampleMachineTemplate t > metadata > ownerReferences > Cluster c > apiVersion",
        (NEWER, OLDER),
        DROPPED,
    ),
    Accepted::both("* > Cluster c > status > controlPlane > availableReplicas", ANY, NEWER_CONTRACT),
    Accepted::ours("* > Cluster c > status > controlPlane > upToDateReplicas", NEWER_CONTRACT),
    Accepted::ours("* > Cluster c > status > controlPlane > versions", NEWER_CONTRACT),
    Accepted::both("* > Machine * > spec > bootstrap > configRef > name", ANY, ONE_NAME),
    Accepted::both("* > Secret * > metadata > ownerReferences > TalosConfig * > name", ANY, ONE_NAME),
    Accepted::both("* > TalosConfig * > metadata > name", ANY, ONE_NAME),
    Accepted::ours(
        "* > TalosConfig * > metadata > labels > cluster.x-k8s.io/control-plane",
        "a configuration has the labels of its machine",
    ),
    Accepted::upstream("* > TalosConfig * > spec > hostname", EMPTY),
    Accepted::upstream(
        "* > TalosControlPlane c > spec > controlPlaneConfig > controlplane > hostname",
        EMPTY,
    ),
    Accepted::upstream("* > TalosControlPlane c > spec > controlPlaneConfig > init", EMPTY),
    Accepted::upstream("* > Secret c-kubeconfig > data > value > preferences", EMPTY),
    Accepted::both(
        "one-again > Secret c-talosconfig > data > talosconfig > contexts > c > endpoints",
        ANY,
        STALE,
    ),
    Accepted::both(
        "rolled > Secret c-talosconfig > data > talosconfig > contexts > c > endpoints",
        ANY,
        STALE,
    ),
    Accepted::both(
        "one-of-three > Secret c-talosconfig > data > talosconfig > contexts > c > endpoints",
        ANY,
        STALE,
    ),
];
const ANY: (&str, &str) = ("*", "*");
const ONE_NAME: &str = "a machine, its configuration and its infrastructure have one name, as Cluster API's own control planes do it";
const EMPTY: &str = "an empty struct of Go says nothing";
const STALE: &str = "upstream keeps the addresses of machines that are gone until another machine changes";
const NEWER: &str = "cluster.x-k8s.io/v1beta2";
const OLDER: &str = "cluster.x-k8s.io/v1beta1";
const DROPPED: &str = "Cluster API is about to drop v1beta1";
const NEWER_CONTRACT: &str = "upstream's release has contract v1beta1 alone";
const GIVEN: &str = "secrets that were given move and go with their Cluster; upstream leaves them behind";
const ONE_ETCD: &str = "which machine makes etcd, and how many were made, is written before it happens";

/// For how long nothing may happen where nothing is to: upstream looks again after 10 or 20 s.
const STILL: Duration = Duration::from_secs(25);

/// Both planes, with a Cluster whose control plane has so many machines.
async fn start(replicas: i32) -> Pair {
    let mut pair = Box::pin(Pair::start(&[upstream::BOOTSTRAP, upstream::CONTROL_PLANE])).await;
    let library = talos();
    let bundle = library.new_secrets("v1.13").await.unwrap();
    let authority = library.inspect_secrets(&bundle.clone().into()).await.unwrap().talos.unwrap();
    for plane in [&mut pair.ours, &mut pair.upstream] {
        plane.provide(TalosCluster::of(&authority.crt, authority.key.expose()));
        let (crt, key) = plane.bench.plane.authority.pair();
        for (name, data) in [
            ("c-talos", json!({ "bundle": bundle.expose() })),
            ("c-ca", json!({ "tls.crt": crt, "tls.key": key })),
        ] {
            let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
            let secret: Secret = serde_json::from_value(
                json!({ "metadata": { "name": name, "labels": labels }, "stringData": data }),
            )
            .unwrap();
            namespaced::<Secret>(&plane.bench).create(&PostParams::default(), &secret).await.unwrap();
        }
        create_cluster(plane, replicas).await;
    }
    pair
}

async fn create_cluster(plane: &Plane, replicas: i32) {
    let bench = &plane.bench;
    let port: i32 = bench.plane.server.rsplit_once(':').unwrap().1.parse().unwrap();
    let endpoint = json!({ "host": "127.0.0.1", "port": port });
    let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
    let named = |name: &str| json!({ "name": name, "labels": labels });
    let example = format!("{GROUP}/{VERSION}");
    let template = json!({ "template": { "metadata": { "labels": { "rack": "r1" }, "annotations": { "note": "n" } },
        "spec": { "size": "small" } } });
    create::<Value>(bench, &example, "ExampleMachineTemplate", named("t"), template).await;
    let infrastructure = json!({ "controlPlaneEndpoint": endpoint });
    create::<Value>(bench, &example, "ExampleCluster", named(CLUSTER), infrastructure).await;
    let control_plane = json!({
        "replicas": replicas, "version": "v1.36.0",
        "infrastructureTemplate": { "apiVersion": example, "kind": "ExampleMachineTemplate", "name": "t" },
        "controlPlaneConfig": { "controlplane": { "generateType": "controlplane", "talosVersion": "v1.13" } },
    });
    let version = "controlplane.cluster.x-k8s.io/v1alpha3";
    create::<Value>(bench, version, "TalosControlPlane", named(CLUSTER), control_plane).await;
    let reference = |group: &str, kind: &str| json!({ "apiGroup": group, "kind": kind, "name": CLUSTER });
    let cluster = json!({
        "infrastructureRef": reference(GROUP, "ExampleCluster"), "controlPlaneEndpoint": endpoint,
        "controlPlaneRef": reference("controlplane.cluster.x-k8s.io", "TalosControlPlane"),
    });
    create::<Value>(bench, "cluster.x-k8s.io/v1beta2", "Cluster", named(CLUSTER), cluster).await;
}

async fn change(pair: &Pair, spec: Value) {
    for plane in pair.both() {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let api = namespaced::<TalosControlPlane>(&plane.bench);
        api.patch(CLUSTER, &PatchParams::default(), &patch).await.unwrap();
    }
}

async fn pause(pair: &Pair, paused: Option<bool>) {
    for plane in pair.both() {
        let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
        namespaced::<Cluster>(&plane.bench).patch(CLUSTER, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// Deletes the machine that was made first.
async fn delete_first(pair: &Pair) {
    for plane in pair.both() {
        let machines = namespaced::<Machine>(&plane.bench);
        let mut all = machines.list(&ListParams::default()).await.unwrap().items;
        all.sort_by_key(|machine| {
            (machine.metadata.creation_timestamp.clone(), machine.metadata.name.clone())
        });
        let name = all[0].metadata.name.clone().unwrap();
        machines.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

/// Whether that many machines are there, ready and of these versions.
fn settled(found: &Value, versions: &[&str]) -> bool {
    let status = &found["TalosControlPlane c"]["status"];
    let wanted = json!(versions.len());
    let counts = ["replicas", "readyReplicas"].iter().all(|count| status[*count] == wanted);
    let mut seen: Vec<_> = (0..versions.len())
        .filter_map(|number| found[format!("Machine c-<machine {number}>")]["spec"]["version"].as_str())
        .collect();
    seen.sort_unstable();
    let nodes = &found["Nodes"];
    counts
        && seen == versions
        && nodes["voters"] == wanted
        && nodes["members"] == wanted
        && nodes["faults"] == json!([])
        && status["conditions"]["Ready"]["status"] == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_secrets_and_status_are_those_that_upstreams_control_plane_provider_makes() {
    let table = Table::of(ACCEPTED);
    Box::pin(one_machine_and_back(&table)).await;
    Box::pin(three_machines_at_once(&table)).await;
    table.assert_exact();
}

async fn one_machine_and_back(table: &Table) {
    let pair = Box::pin(start(1)).await;
    let until = async |case: &str, versions: &[&str]| {
        pair.compare(table, (case, NAMESPACE), Fresh::Authority, |found| settled(found, versions)).await;
    };
    until("one", &["v1.36.0"]).await;
    change(&pair, json!({ "replicas": 3 })).await;
    until("three", &["v1.36.0"; 3]).await;

    // Nothing rolls by itself; what is deleted comes back as the spec wants it.
    change(
        &pair,
        json!({ "rolloutStrategy": { "type": "OnDelete", "rollingUpdate": null }, "version": "v1.36.1" }),
    )
    .await;
    tokio::time::sleep(scaled(STILL)).await;
    until("on-delete", &["v1.36.0"; 3]).await;
    delete_first(&pair).await;
    until("deleted", &["v1.36.0", "v1.36.0", "v1.36.1"]).await;

    // Paused, nothing goes; then the oldest go first.
    pause(&pair, Some(true)).await;
    change(&pair, json!({ "replicas": 1 })).await;
    tokio::time::sleep(scaled(STILL)).await;
    until("paused", &["v1.36.0", "v1.36.0", "v1.36.1"]).await;
    pause(&pair, None).await;
    until("one-again", &["v1.36.1"]).await;

    change(&pair, json!({ "rolloutStrategy": { "type": "RollingUpdate" }, "version": "v1.36.2" })).await;
    until("rolled", &["v1.36.2"]).await;

    for plane in pair.both() {
        namespaced::<TalosControlPlane>(&plane.bench)
            .delete(CLUSTER, &DeleteParams::default())
            .await
            .unwrap();
    }
    let is_gone = |found: &Value| {
        let all = found.as_object().unwrap();
        !all.keys().any(|title| {
            ["TalosControlPlane ", "Machine ", "ExampleMachine "].iter().any(|kind| title.starts_with(kind))
        })
    };
    pair.compare(table, ("gone", NAMESPACE), Fresh::Authority, is_gone).await;
}

async fn three_machines_at_once(table: &Table) {
    let pair = Box::pin(start(3)).await;
    let until = async |case: &str, versions: &[&str]| {
        pair.compare(table, (case, NAMESPACE), Fresh::Authority, |found| settled(found, versions)).await;
    };
    until("three-at-once", &["v1.36.0"; 3]).await;
    change(&pair, json!({ "replicas": 1 })).await;
    until("one-of-three", &["v1.36.0"]).await;
}
