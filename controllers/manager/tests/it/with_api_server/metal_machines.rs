//! MetalMachines against a real API server: spec/sidero.md §2.4-§2.6 and §10.3, and attempts to make two of them share a
//! Server, or to make a paused or moved one lose its own.

use std::collections::BTreeSet;

use bloomery_api::condition::{self, Condition};
use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::evidence::{DiskRecord, DiskState, Entry};
use bloomery_api::metal_machine::FINALIZER;
use bloomery_api::plane::FENCED_ANNOTATION;
use bloomery_api::{
    MetalCluster, MetalMachine, MetalMachineTemplate, Plane, Server, ServerBinding, ServerClass,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use crate::support::cluster_api::{self, NAMESPACE, cluster, machine, namespaced, provisioned};
use crate::support::contract;
use crate::support::machines::{has_event, record, until, until_reason, wiped};
use bloomery_testkit::eventually;

/// The control plane's address: every node that has it now announces it.
pub(super) const VIP: &str = "10.0.0.1";
const MOVING: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";

pub(super) fn name_of(number: usize) -> String {
    format!("4c4c4544-0039-3010-804d-{number:012}")
}

/// A Server that was wiped: whoever waits for it may have it at once.
pub(super) async fn clean(bench: &Bench, name: &str, rack: &str) {
    let servers: Api<Server> = bench.all();
    let mut server = registered(name);
    server.spec.accepted = true;
    server.metadata.labels = Some([("rack".to_owned(), rack.to_owned())].into());
    let made = servers.create(&PostParams::default(), &server).await.unwrap();
    record(bench, &made, Entry::NeverUsed(bloomery_api::contents::ContentsClass::Blank)).await;
    wiped(bench, name).await;
}

/// A class of the Servers of one rack.
pub(super) async fn class(bench: &Bench, name: &str, racks: &[&str]) {
    let class: ServerClass = serde_json::from_value(json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "metadata": { "name": name },
        "spec": { "selector": { "matchExpressions": [{ "key": "rack", "operator": "In", "values": racks }] } },
    }))
    .unwrap();
    bench.all::<ServerClass>().create(&PostParams::default(), &class).await.unwrap();
}

pub(super) async fn start() -> (Bench, crate::support::controllers::Controllers) {
    let bench = Bench::start().await;
    bench.apply();
    cluster_api::install(&bench).await;
    bench.create_idle_defaults().await;
    let controllers = bench.setup.run(&bench.plane).await;
    (bench, controllers)
}

pub(super) fn of_class(name: &str) -> Value {
    json!({ "serverClassRef": { "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "name": name } })
}

fn ready(machine: &MetalMachine) -> (String, String) {
    let conditions = machine.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, "Ready").map_or_else(Default::default, |ready| {
        (format!("{} {}", ready.status.as_str(), ready.reason).trim().to_owned(), ready.message.clone())
    })
}

pub(super) async fn until_machine(
    bench: &Bench,
    name: &str,
    what: &str,
    holds: impl Fn(&MetalMachine) -> bool,
) -> MetalMachine {
    let machines: Api<MetalMachine> = namespaced(bench);
    eventually(&format!("{name}: {what}"), async || {
        let machine = machines.get(name).await.map_err(|error| error.to_string())?;
        if holds(&machine) { Ok(machine) } else { Err(serde_json::to_string(&machine).unwrap()) }
    })
    .await
}

pub(super) async fn until_ready(bench: &Bench, name: &str, wanted: &str) -> MetalMachine {
    until_machine(bench, name, wanted, |machine| ready(machine).0 == wanted).await
}

async fn until_gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    eventually(&format!("{name} is gone"), async || match api.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(object)) => Err(serde_json::to_string(&object).unwrap()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

async fn patch_machine(bench: &Bench, name: &str, change: Value) {
    let machines: Api<MetalMachine> = namespaced(bench);
    machines.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_a_clean_server_of_its_class_and_gives_it_back() {
    let (bench, _controllers) = start().await;
    let (server, other) = (name_of(1), name_of(2));
    class(&bench, "small", &["r1"]).await;
    clean(&bench, &other, "r2").await;
    until_reason(&bench, &other, "Available").await;
    cluster(&bench, VIP).await;

    // The MetalCluster is ready by both contracts, and shows the racks as failure domains.
    let clusters: Api<MetalCluster> = namespaced(&bench);
    eventually("the MetalCluster is ready", async || {
        let cluster = clusters.get("c").await.map_err(|error| error.to_string())?;
        let value = serde_json::to_value(cluster.status).unwrap();
        let is_ready = value["ready"] == true && value["initialization"]["provisioned"] == true;
        let domains = value["failureDomains"] == json!([{ "name": "r2", "controlPlane": true }]);
        if is_ready && domains && !cluster.metadata.finalizers.unwrap_or_default().is_empty() {
            Ok(())
        } else {
            Err(value.to_string())
        }
    })
    .await;

    // It waits for one thing after the other, and says for which.
    machine(&bench, "m", of_class("small"), None).await;
    until_ready(&bench, "m", "False WaitingForClusterInfrastructure").await;
    provisioned(&bench).await;
    until_ready(&bench, "m", "False WaitingForBootstrapData").await;
    let data = json!({ "spec": { "bootstrap": { "dataSecretName": "data" } } });
    namespaced::<Machine>(&bench).patch("m", &PatchParams::default(), &Patch::Merge(data)).await.unwrap();
    let waits = until_ready(&bench, "m", "False WaitingForServer").await;
    assert_eq!(ready(&waits).1, "ServerClass small has no accepted Server");

    // A Server of the class becomes clean.
    clean(&bench, &server, "r1").await;
    let bound = until_ready(&bench, "m", "True").await;
    assert_eq!(bound.spec.provider_id, format!("sidero://{server}"));
    assert_eq!(bound.server_name(), Some(server.as_str()));
    assert!(bound.finalizers().iter().any(|name| name == FINALIZER));
    assert!(bound.annotations().is_empty(), "nobody looks any more: {:?}", bound.annotations());
    let status = serde_json::to_value(bound.status.as_ref().unwrap()).unwrap();
    assert_eq!((&status["ready"], &status["initialization"]["provisioned"]), (&json!(true), &json!(true)));
    assert_eq!(status["failureDomain"], "r1");
    let newer = status["v1beta2"]["conditions"].as_array().unwrap();
    for (type_, value) in [("Ready", "True"), ("Paused", "False")] {
        assert!(newer.iter().any(|one| one["type"] == type_ && one["status"] == value), "{status}");
    }
    has_event(&bench, &server, "Server is allocated via serverclass \"small\" for metal machine \"m\".")
        .await;
    let bindings: Api<ServerBinding> = bench.all();
    let binding = bindings.get(&server).await.unwrap();
    assert_eq!(binding.labels()["cluster.x-k8s.io/cluster-name"], "c");
    assert_eq!(binding.spec.server_class_ref.as_ref().unwrap().name.as_deref(), Some("small"));
    assert_eq!(binding.spec.metal_machine_ref.uid, bound.metadata.uid);
    eventually("the binding says that its Server exists", async || {
        let status = bindings.get(&server).await.map_err(|error| error.to_string())?.status;
        if status.as_ref().is_some_and(|status| status.ready) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;

    // What the node says of itself is told, but not the control plane's address nor SideroLink's.
    let said = json!({ "spec": { "addresses": ["10.0.0.7", VIP, "fd00:0:0:3::7"], "hostname": "node",
        "siderolink": { "address": "fd00:0:0:3::9/64", "publicKey": "k" } } });
    bindings.patch(&server, &PatchParams::default(), &Patch::Merge(said)).await.unwrap();
    let told = until_machine(&bench, "m", "its addresses", |machine| {
        machine.status.as_ref().is_some_and(|status| status.addresses.len() == 2)
    })
    .await;
    let addresses: Vec<_> = told.status.unwrap().addresses.into_iter().map(|one| one.address).collect();
    assert_eq!(addresses, ["10.0.0.7", "node"]);
    as_cluster_api_reads(&bench, &server).await;

    // A lost serverRef and a lost finalizer come back.
    patch_machine(&bench, "m", json!({ "spec": { "serverRef": null }, "metadata": { "finalizers": [] } }))
        .await;
    until_machine(&bench, "m", "it has what it had", |machine| {
        machine.server_name() == Some(server.as_str())
            && machine.finalizers().iter().any(|one| one == FINALIZER)
    })
    .await;
    assert!(bindings.get_opt(&other).await.unwrap().is_none());

    // Given back: on record, and to be wiped before anybody gets it again.
    let machines: Api<MetalMachine> = namespaced(&bench);
    machines.delete("m", &DeleteParams::default()).await.unwrap();
    until_gone(&machines, "m").await;
    until_gone(&bindings, &server).await;
    let released = until_reason(&bench, &server, "NotClean").await;
    assert_eq!(DiskRecord::of(&released).unwrap().state, DiskState::Released);
}

/// Cluster API's own getters find what the contracts ask for, in both.
async fn as_cluster_api_reads(bench: &Bench, server: &str) {
    let machine = namespaced::<MetalMachine>(bench).get("m").await.unwrap();
    let cluster = namespaced::<MetalCluster>(bench).get("c").await.unwrap();
    for version in ["v1beta1", "v1beta2"] {
        let read = contract::read("InfrastructureMachine", version, &machine);
        assert_eq!(
            read,
            json!({ "provisioned": true, "providerID": format!("sidero://{server}"), "failureDomain": "r1",
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.7" }, { "type": "Hostname", "address": "node" }] }),
            "{version}"
        );
        let read = contract::read("InfrastructureCluster", version, &cluster);
        assert_eq!(read["provisioned"], true, "{version}");
        assert_eq!(read["controlPlaneEndpoint"], json!({ "host": VIP, "port": 6443 }), "{version}");
        // The older contract has a map here: one field cannot be both, and the manager of the image reads the newer one.
        if version == "v1beta2" {
            let domains = read["failureDomains"].as_array().unwrap_or_else(|| panic!("{read}"));
            let names: Vec<_> = domains.iter().map(|one| &one["name"]).collect();
            assert!(names.contains(&&json!("r2")), "{read}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_machines_and_two_programs_share_fifteen_servers_without_a_server_twice() {
    const MACHINES: usize = 20;
    const SERVERS: usize = 15;
    let (bench, _one) = start().await;
    let _two = bench.setup.run_beside(&bench.plane, &[]).await;
    class(&bench, "all", &["r1"]).await;
    let servers: Vec<String> = (1..=SERVERS).map(name_of).collect();
    futures::future::join_all(servers.iter().map(|name| clean(&bench, name, "r1"))).await;
    cluster(&bench, VIP).await;
    provisioned(&bench).await;
    let names: Vec<String> = (0..MACHINES).map(|number| format!("m{number:02}")).collect();
    futures::future::join_all(names.iter().map(|name| machine(&bench, name, of_class("all"), Some("data"))))
        .await;

    let bindings: Api<ServerBinding> = bench.all();
    let machines: Api<MetalMachine> = namespaced(&bench);
    eventually("all Servers are given and the rest wait", async || {
        let all = machines.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let count = |wanted: &str| all.iter().filter(|machine| ready(machine).0 == wanted).count();
        let counts = (count("True"), count("False WaitingForServer"));
        if counts == (SERVERS, MACHINES - SERVERS) { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let check = async || {
        let all = machines.list(&ListParams::default()).await.unwrap().items;
        let held = bindings.list(&ListParams::default()).await.unwrap().items;
        let servers: BTreeSet<_> = all.iter().filter_map(MetalMachine::server_name).collect();
        let owners: BTreeSet<_> = held.iter().map(|one| one.spec.metal_machine_ref.name.clone()).collect();
        assert_eq!((servers.len(), held.len(), owners.len()), (SERVERS, SERVERS, SERVERS));
        for binding in &held {
            let owner =
                all.iter().find(|machine| binding.spec.metal_machine_ref.name == machine.metadata.name);
            assert_eq!(owner.unwrap().server_name(), binding.metadata.name.as_deref());
        }
        all
    };
    let all = check().await;
    let waits = all.iter().find(|machine| machine.server_name().is_none()).unwrap();
    assert_eq!(ready(waits).1, "no Server of ServerClass all is free: 15 in use");
    // Nobody had a Server and lost it: each was bound once, by the record after "clean".
    for name in &servers {
        let is_recorded =
            |server: &Server| DiskRecord::of(server).is_some_and(|record| record.state == DiskState::Bound);
        let server = until(&bench, name, "its claim is on record", is_recorded).await;
        assert_eq!(DiskRecord::of(&server).unwrap().seq, 3, "{name}");
    }

    // One is given back and wiped: one of those that wait gets it.
    let given = all.iter().find(|machine| machine.server_name().is_some()).unwrap();
    let server = given.server_name().unwrap().to_owned();
    machines.delete(&given.name_any(), &DeleteParams::default()).await.unwrap();
    until_gone(&machines, &given.name_any()).await;
    until_reason(&bench, &server, "NotClean").await;
    wiped(&bench, &server).await;
    eventually("the Server has another machine", async || {
        let binding = bindings.get_opt(&server).await.map_err(|error| error.to_string())?;
        binding.map(drop).ok_or_else(|| "free".to_owned())
    })
    .await;
    eventually("that machine says so", async || {
        let all = machines.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let count = all.iter().filter(|machine| ready(machine).0 == "True").count();
        if count == SERVERS { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_or_moved_keeps_its_server_and_missing_owners_keep_nothing() {
    let (bench, _controllers) = start().await;
    class(&bench, "all", &["r1"]).await;
    for number in 1..=3 {
        clean(&bench, &name_of(number), "r1").await;
    }
    cluster(&bench, VIP).await;
    provisioned(&bench).await;
    for name in ["paused", "moved", "orphan"] {
        machine(&bench, name, of_class("all"), Some("data")).await;
        until_ready(&bench, name, "True").await;
    }
    let bindings: Api<ServerBinding> = bench.all();
    let machines: Api<MetalMachine> = namespaced(&bench);
    let server_of = async |name: &str| machines.get(name).await.unwrap().server_name().unwrap().to_owned();
    let (paused, moved, orphan) =
        (server_of("paused").await, server_of("moved").await, server_of("orphan").await);

    // Its Cluster is paused: deleted, it stays.
    let clusters: Api<Cluster> = namespaced(&bench);
    let pause = async |paused: bool| {
        let change = json!({ "spec": { "paused": paused } });
        clusters.patch("c", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    };
    pause(true).await;
    until_machine(&bench, "paused", "it says that it is paused", |machine| {
        let conditions = machine.status.as_ref().map_or(&[][..], |status| &status.v1beta2.conditions);
        conditions.iter().any(|one| one.type_ == "Paused" && one.status == "True")
    })
    .await;
    machines.delete("paused", &DeleteParams::default()).await.unwrap();
    // By now the controller has looked at it.
    machine(&bench, "canary", of_class("all"), Some("data")).await;
    until_machine(&bench, "canary", "it was looked at", |machine| machine.status.is_some()).await;
    let untouched = async |server: &str| {
        let binding = bindings.get(server).await.unwrap();
        assert_eq!(binding.metadata.deletion_timestamp, None, "{server}");
    };
    untouched(&paused).await;

    // No longer paused: the deletion goes on.
    pause(false).await;
    until_gone(&machines, "paused").await;
    until_gone(&bindings, &paused).await;

    // As `clusterctl move` does at the source: mark, delete, take finalizers off. The whole plane stops.
    patch_machine(&bench, "moved", json!({ "metadata": { "annotations": { MOVING: "" } } })).await;
    machines.delete("moved", &DeleteParams::default()).await.unwrap();
    let planes: Api<Plane> = bench.all();
    eventually("the plane stops itself", async || {
        let plane = planes.get("plane").await.map_err(|error| error.to_string())?;
        plane.fenced().map(drop).ok_or_else(|| "it acts".to_owned())
    })
    .await;
    untouched(&moved).await;
    // A person lets it go on: what is marked is left alone all the same.
    bench
        .patch::<Plane>("plane", json!({ "metadata": { "annotations": { FENCED_ANNOTATION: null } } }))
        .await;
    machine(&bench, "canary-2", json!({}), Some("data")).await;
    until_ready(&bench, "canary-2", "False NoServerReference").await;
    untouched(&moved).await;
    patch_machine(&bench, "moved", json!({ "metadata": { "finalizers": [] } })).await;
    until_gone(&machines, "moved").await;
    untouched(&moved).await;

    // Without Machine and Cluster a deletion waits for nothing.
    namespaced::<Machine>(&bench).delete("orphan", &DeleteParams::default()).await.unwrap();
    clusters.delete("c", &DeleteParams::default()).await.unwrap();
    machines.delete("orphan", &DeleteParams::default()).await.unwrap();
    until_gone(&machines, "orphan").await;
    until_gone(&bindings, &orphan).await;
    let metal_clusters: Api<MetalCluster> = namespaced(&bench);
    metal_clusters.delete("c", &DeleteParams::default()).await.unwrap();
    until_gone(&metal_clusters, "c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_named_is_bound_when_it_is_free_and_templates_tell_capacities() {
    let (bench, _controllers) = start().await;
    let (dirty, free) = (name_of(1), name_of(2));
    class(&bench, "all", &["r1"]).await;
    clean(&bench, &free, "r1").await;
    let mut unaccepted = registered(&dirty);
    unaccepted.metadata.labels = Some([("rack".to_owned(), "r1".to_owned())].into());
    bench.all::<Server>().create(&PostParams::default(), &unaccepted).await.unwrap();
    cluster(&bench, VIP).await;
    provisioned(&bench).await;
    let named = |server: &str| json!({ "serverRef": { "kind": "Server", "name": server } });

    machine(&bench, "a", named(&dirty), Some("data")).await;
    let waits = until_ready(&bench, "a", "False ServerNotFree").await;
    assert!(ready(&waits).1.contains("NotAccepted"), "{:?}", ready(&waits));
    machine(&bench, "b", named(&name_of(9)), Some("data")).await;
    until_ready(&bench, "b", "False ServerMissing").await;
    machine(&bench, "c", named(&free), Some("data")).await;
    until_ready(&bench, "c", "True").await;
    has_event(&bench, &free, "Server as assigned via serverRef for metal machine \"c\".").await;
    machine(&bench, "d", named(&free), Some("data")).await;
    until_ready(&bench, "d", "False ServerTaken").await;
    let bindings: Api<ServerBinding> = bench.all();
    assert_eq!(bindings.list(&ListParams::default()).await.unwrap().items.len(), 1);

    // One that never had a Server takes none from another when it goes.
    let machines: Api<MetalMachine> = namespaced(&bench);
    machines.delete("d", &DeleteParams::default()).await.unwrap();
    until_gone(&machines, "d").await;
    assert_eq!(bindings.get(&free).await.unwrap().metadata.deletion_timestamp, None);

    // A node that cannot do with its configuration is told of at once.
    let failed = Condition::fails(
        "TalosConfigLoaded",
        condition::Severity::Error,
        "TalosConfigLoadFailed",
        "bad key",
        crate::support::machines::now(),
    );
    let status = Patch::Merge(json!({ "status": { "conditions": [failed] } }));
    bindings.patch_status(&free, &PatchParams::default(), &status).await.unwrap();
    let told = until_ready(&bench, "c", "False TalosConfigLoadFailed").await;
    assert!(condition::find(&told.status.unwrap().conditions, "TalosConfigLoaded").is_some());

    let template: MetalMachineTemplate = cluster_api::create(
        &bench,
        "infrastructure.cluster.x-k8s.io/v1alpha3",
        "MetalMachineTemplate",
        json!({ "name": "t" }),
        json!({ "template": { "spec": of_class("all") } }),
    )
    .await;
    let templates: Api<MetalMachineTemplate> = Api::namespaced(bench.client.clone(), NAMESPACE);
    eventually("the template tells what a machine has", async || {
        let status = templates.get(&template.name_any()).await.map_err(|error| error.to_string())?.status;
        let value = serde_json::to_value(status).unwrap();
        let expected = json!({ "capacity": { "memory": "2048Mi" },
            "nodeInfo": { "architecture": "amd64", "operatingSystem": "linux" } });
        if value == expected { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn talos_kinds_are_judged_defaulted_and_served_in_all_versions() {
    let (bench, _controllers) = start().await;
    let dynamic = |kind: &str, version: &str| -> Api<kube::api::DynamicObject> {
        let group = if kind.starts_with("TalosConfig") { "bootstrap" } else { "controlplane" };
        let group = format!("{group}.cluster.x-k8s.io");
        let gvk = kube::core::GroupVersionKind::gvk(&group, version, kind);
        Api::namespaced_with(bench.client.clone(), NAMESPACE, &kube::api::ApiResource::from_gvk(&gvk))
    };
    let refused = |result: kube::Result<kube::api::DynamicObject>| match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    };
    let change = |change: Value| Patch::Merge(change);
    let params = PatchParams::default();

    // Defaults come also through the further version, and the stored one has a core reference.
    let spec = json!({ "version": "v1.36.0", "controlPlaneConfig": { "controlplane": { "generateType": "controlplane" } },
        "machineTemplate": { "spec": { "infrastructureRef": {
            "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalMachineTemplate", "name": "t" } } } });
    let meta = json!({ "name": "cp" });
    let _: Value =
        cluster_api::create(&bench, "controlplane.cluster.x-k8s.io/v1beta1", "TalosControlPlane", meta, spec)
            .await;
    let stored = dynamic("TalosControlPlane", "v1alpha3").get("cp").await.unwrap().data;
    assert_eq!(
        (&stored["spec"]["replicas"], &stored["spec"]["rolloutStrategy"]["rollingUpdate"]["maxSurge"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        stored["spec"]["infrastructureTemplate"],
        json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachineTemplate", "name": "t",
            "namespace": "default" })
    );
    let planes = dynamic("TalosControlPlane", "v1alpha3");
    let bad = planes
        .patch("cp", &params, &change(json!({ "spec": { "rolloutStrategy": { "type": "Recreate" } } })))
        .await;
    assert_eq!(refused(bad).0, 422);
    // An old client's version without its `v` is mended before the schema is asked.
    let old = planes.patch("cp", &params, &change(json!({ "spec": { "version": "1.36.1" } }))).await.unwrap();
    assert_eq!(old.data["spec"]["version"], "v1.36.1");

    // A TalosConfig changes in place only; its hosts' names come from where they can.
    let spec = json!({ "generateType": "worker", "strategicPatches": ["machine: {}"] });
    let meta = json!({ "name": "tc" });
    let _: Value =
        cluster_api::create(&bench, "bootstrap.cluster.x-k8s.io/v1alpha3", "TalosConfig", meta, spec.clone())
            .await;
    let configs = dynamic("TalosConfig", "v1alpha3");
    let edit = json!({ "spec": { "talosVersion": "v1.13" } });
    let message = refused(configs.patch("tc", &params, &change(edit.clone())).await).1;
    assert!(message.contains("TalosConfig.Spec is immutable"), "{message}");
    let mut in_place = edit;
    in_place["metadata"]["annotations"] =
        json!({ "in-place-updates.internal.cluster.x-k8s.io/update-in-progress": "" });
    configs.patch("tc", &params, &change(in_place)).await.unwrap();
    let status = json!({ "status": { "ready": true, "dataSecretName": "s" } });
    configs.patch_status("tc", &params, &change(status)).await.unwrap();
    for version in ["v1alpha2", "v1beta1"] {
        let seen = dynamic("TalosConfig", version).get("tc").await.unwrap();
        assert!(seen.annotations().contains_key("cluster.x-k8s.io/conversion-data"), "{version}");
    }
    let newer = dynamic("TalosConfig", "v1beta1").get("tc").await.unwrap().data;
    assert_eq!(newer["status"]["initialization"]["dataSecretCreated"], true);

    let template = json!({ "template": { "spec": spec } });
    let meta = json!({ "name": "t" });
    let _: Value = cluster_api::create(
        &bench,
        "bootstrap.cluster.x-k8s.io/v1alpha3",
        "TalosConfigTemplate",
        meta,
        template,
    )
    .await;
    let edit = json!({ "spec": { "template": { "spec": { "generateType": "init" } } } });
    let message =
        refused(dynamic("TalosConfigTemplate", "v1alpha3").patch("t", &params, &change(edit)).await).1;
    assert!(message.contains("TalosConfigTemplate.Spec is immutable"), "{message}");
}
