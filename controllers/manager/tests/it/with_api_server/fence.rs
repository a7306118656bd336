//! A plane that stops itself, against a real API server: what stops it, that a person's word ends it within seconds, and
//! that a new cause stops it again.

use bloomery_api::evidence::FORGET_ANNOTATION;
use bloomery_api::ledger::{Fate, Tombstone};
use bloomery_api::plane::FENCED_ANNOTATION;
use bloomery_api::plane::fence::DELETE_FOR_MOVE_ANNOTATION;
use bloomery_api::{Plane, Server, ServerBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::Bench;
use crate::support::machines::{bind, canary, machine, until_reason};
use crate::support::power_api::PowerApi;
use bloomery_testkit::eventually;

/// A machine that a cluster has.
async fn claimed(bench: &Bench, name: &str) {
    let power = PowerApi::start(true).await;
    machine(bench, name, true, &power).await;
    bind(bench, name).await;
    until_reason(bench, name, "Bound").await;
    eventually("the claim is in the ledger", async || {
        if fate(bench, name) == Some(Fate::Claimed) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

/// Where the ledger says that the machine stood last.
fn fate(bench: &Bench, name: &str) -> Option<Fate> {
    let path = bench.plane.directory().join("plane").join(bloomery_plane::LEDGER_FILE);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entries = text.lines().filter_map(|line| {
        let (_, entry) = line.split_once(' ')?;
        serde_json::from_str::<Tombstone>(entry).ok()
    });
    entries.rev().find(|entry| entry.server == name).map(|entry| entry.fate)
}

/// Takes a Server away as no part of the plane does.
async fn vanishes(bench: &Bench, name: &str) {
    let servers: Api<Server> = bench.all();
    servers.delete(name, &DeleteParams::default()).await.unwrap();
    bench.patch::<Server>(name, json!({ "metadata": { "finalizers": [] } })).await;
    assert!(servers.get_opt(name).await.unwrap().is_none());
}

async fn until_fenced(bench: &Bench, words: &str) {
    eventually(&format!("the plane is fenced: {words}"), async || {
        let plane = bench.all::<Plane>().get("plane").await.map_err(|error| error.to_string())?;
        match plane.fenced() {
            Some(mark) if mark.contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// `kubectl annotate plane plane bloomery.dev/fenced-`; then a machine is commanded, and nothing stops the plane again.
async fn a_person_looked(bench: &Bench, new_machine: &str) {
    let looked = json!({ "metadata": { "annotations": { FENCED_ANNOTATION: null } } });
    bench.patch::<Plane>("plane", looked).await;
    canary(bench, new_machine).await;
    assert_eq!(bench.all::<Plane>().get("plane").await.unwrap().fenced(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_word_ends_the_fence_and_a_new_cause_brings_it_back() {
    const FIRST: &str = "4c4c4544-0039-3010-804d-000000000301";
    const SECOND: &str = "4c4c4544-0039-3010-804d-000000000302";
    const THIRD: &str = "4c4c4544-0039-3010-804d-000000000303";
    let (bench, controllers) = Bench::with_controllers().await;
    for name in [FIRST, SECOND, THIRD] {
        claimed(&bench, name).await;
    }
    vanishes(&bench, FIRST).await;
    until_fenced(&bench, FIRST).await;
    eventually("the controllers know", async || {
        let stopped = controllers.process.output().contains("this plane stopped acting");
        if stopped { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // What goes meanwhile is told too: a person who looks at the first alone would never hear of it.
    vanishes(&bench, SECOND).await;
    until_fenced(&bench, SECOND).await;
    until_fenced(&bench, FIRST).await;
    a_person_looked(&bench, "4c4c4544-0039-3010-804d-000000000304").await;
    assert_eq!([FIRST, SECOND].map(|name| fate(&bench, name)), [Some(Fate::Vanished); 2]);

    vanishes(&bench, THIRD).await;
    until_fenced(&bench, THIRD).await;
    let plane = bench.all::<Plane>().get("plane").await.unwrap();
    assert!(!plane.fenced().unwrap().contains(FIRST), "{:?}", plane.fenced());
}

/// Cluster API's kinds, as far as a move is concerned: only their metadata is looked at.
async fn install(bench: &Bench, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": version, "served": true, "storage": true, "schema": {
                "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    }))
    .unwrap();
    // Ours are there.
    if group == "cluster.x-k8s.io" {
        bench.all::<CustomResourceDefinition>().create(&PostParams::default(), &definition).await.unwrap();
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(bench.client.clone(), "default", &resource)
}

fn moved() -> Value {
    json!({ "metadata": { "annotations": { DELETE_FOR_MOVE_ANNOTATION: "" } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clusterctl_moves_away_stops_the_plane_each_time() {
    const NAME: &str = "4c4c4544-0039-3010-804d-000000000311";
    let (bench, _controllers) = Bench::with_controllers().await;
    claimed(&bench, NAME).await;
    let kinds = [
        ("infrastructure.cluster.x-k8s.io", "v1alpha3", "MetalMachine", "metalmachines"),
        ("cluster.x-k8s.io", "v1beta1", "Cluster", "clusters"),
    ];
    for (number, (group, version, kind, plural)) in (1..).zip(kinds) {
        let objects = install(&bench, group, version, kind, plural).await;
        let object = json!({ "apiVersion": format!("{group}/{version}"), "kind": kind,
            "metadata": { "name": "m", "finalizers": ["example.com/held"] } });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        eventually("the kind is served", async || {
            let made = objects.create(&PostParams::default(), &object).await;
            made.map(drop).map_err(|error| error.to_string())
        })
        .await;
        // As `clusterctl move` does at the source, once the target has the object.
        objects.patch("m", &PatchParams::default(), &Patch::Merge(moved())).await.unwrap();
        until_fenced(&bench, &format!("clusterctl moves {kind} default/m")).await;
        a_person_looked(&bench, &format!("4c4c4544-0039-3010-804d-00000000032{number}")).await;
    }
    // The binding itself: what is being moved is neither released nor let go, whatever a person said before.
    let bindings: Api<ServerBinding> = bench.all();
    bindings.patch(NAME, &PatchParams::default(), &Patch::Merge(moved())).await.unwrap();
    until_fenced(&bench, &format!("ServerBinding {NAME}")).await;
    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    let looked = json!({ "metadata": { "annotations": { FENCED_ANNOTATION: null } } });
    bench.patch::<Plane>("plane", looked).await;
    until_fenced(&bench, &format!("ServerBinding {NAME}")).await;
    assert!(!bindings.get(NAME).await.unwrap().finalizers().is_empty(), "it is let go by no one");
    let server = bench.all::<Server>().get(NAME).await.unwrap();
    let record = bloomery_api::evidence::DiskRecord::of(&server).unwrap();
    assert!(record.state.is_claim(), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_server_that_a_person_forgets_goes_without_a_fence_and_stays_known() {
    const NAME: &str = "4c4c4544-0039-3010-804d-000000000331";
    let (bench, _controllers) = Bench::with_controllers().await;
    claimed(&bench, NAME).await;
    let (servers, bindings): (Api<Server>, Api<ServerBinding>) = (bench.all(), bench.all());
    // The cluster is gone, and its binding went with it, by force.
    eventually("the binding is gone", async || {
        let strip = Patch::Merge(json!({ "metadata": { "finalizers": [] } }));
        bindings.patch(NAME, &PatchParams::default(), &strip).await.map_err(|error| error.to_string())?;
        let deleted = bindings.delete(NAME, &DeleteParams::default()).await;
        let gone = deleted.map_err(|error| error.to_string())?.is_right();
        if gone { Ok(()) } else { Err("held by a finalizer".to_owned()) }
    })
    .await;
    until_reason(&bench, NAME, "BindingLost").await;
    servers.delete(NAME, &DeleteParams::default()).await.unwrap();
    canary(&bench, "4c4c4544-0039-3010-804d-000000000332").await;
    let held = servers.get(NAME).await.unwrap();
    // `bloomery servers forget`
    let forget = json!({ "metadata": { "annotations": { FORGET_ANNOTATION: held.uid().unwrap() } } });
    bench.patch::<Server>(NAME, forget).await;
    eventually("the Server is gone", async || match servers.get_opt(NAME).await.unwrap() {
        None => Ok(()),
        Some(server) => Err(format!("{:?}", server.metadata)),
    })
    .await;
    canary(&bench, "4c4c4544-0039-3010-804d-000000000333").await;
    assert_eq!(fate(&bench, NAME), Some(Fate::Forgotten));
    assert_eq!(bench.all::<Plane>().get("plane").await.unwrap().fenced(), None);
}
