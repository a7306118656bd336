//! TalosControlPlanes with real Cluster API core, on nodes that speak the Talos API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bloomery_api::TalosControlPlane;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::controlplane::bootstrap::ETCD_ANNOTATION;
use bloomery_api::controlplane::seen::LEAVING_ANNOTATION;
use bloomery_testkit::{eventually, scaled};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::cluster_api::{CLUSTER, NAMESPACE, namespaced};
use crate::support::contract;
use crate::support::talos_site::{TalosSite, cluster, said};

fn count(site: &TalosSite, call: &str) -> usize {
    site.talos.calls().iter().filter(|made| made.name == call).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_becomes_a_control_plane_and_then_nothing_is_written() {
    let site = TalosSite::start().await;
    site.create(1, true).await;
    let found = site.until_settled(1).await;
    let machines = site.machines().await;
    assert!(machines[0].name_any().starts_with("c-"), "{}", machines[0].name_any());
    assert_eq!(found.annotations()[ETCD_ANNOTATION], machines[0].name_any());
    let found = site.until("it is available", |found| said(found, "Available").0 == "True").await;
    let status = serde_json::to_value(&found.status).unwrap();
    for (field, expected) in [("initialized", true), ("ready", true), ("bootstrapped", true)] {
        assert_eq!(status[field], expected, "{field}: {status}");
    }
    assert_eq!(status["initialization"]["controlPlaneInitialized"], true);
    assert_eq!(status["selector"], "cluster.x-k8s.io/cluster-name=c,cluster.x-k8s.io/control-plane=");
    assert_eq!(status["versions"], json!([{ "version": "v1.36.0", "replicas": 1 }]));
    let kubeconfig = namespaced::<Secret>(&site.bench).get("c-kubeconfig").await.unwrap();
    assert_eq!(kubeconfig.type_.as_deref(), Some("cluster.x-k8s.io/secret"));
    assert_eq!(kubeconfig.owner_references()[0].kind, "TalosControlPlane");
    let template = site.example("ExampleMachineTemplate", "t").await;
    assert_eq!(template.owner_references()[0].kind, "Cluster");
    assert_eq!(template.owner_references()[0].controller, None);

    as_cluster_api_reads(&site).await;
    // What Cluster API makes of it: nothing is unknown.
    eventually("the Cluster is available", async || {
        let cluster = serde_json::to_value(cluster(&site).await).unwrap();
        let all = site.cluster_conditions().await;
        let is =
            |type_: &str, status: &str| all.iter().any(|one| one["type"] == type_ && one["status"] == status);
        let unknown: Vec<_> = all.iter().filter(|one| one["status"] == "Unknown").collect();
        let is_done = is("Available", "True")
            && is("ControlPlaneInitialized", "True")
            && is("ControlPlaneMachinesUpToDate", "True")
            && is("ControlPlaneMachinesReady", "True")
            && is("RollingOut", "False")
            && unknown.is_empty();
        if is_done { Ok(()) } else { Err(format!("{cluster} {all:?}")) }
    })
    .await;
    assert_eq!(count(&site, "Bootstrap"), 1);

    stands_still(&site).await;
    comes_back(&site, &found).await;
    is_renewed(&site).await;
}

/// Cluster API's own getters find what the contracts ask for, in both, in the version that the definition's label names for each.
async fn as_cluster_api_reads(site: &TalosSite) {
    for (contract, version) in [("v1beta1", "v1alpha3"), ("v1beta2", "v1beta1")] {
        let kind = GroupVersionKind::gvk("controlplane.cluster.x-k8s.io", version, "TalosControlPlane");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(site.bench.client.clone(), NAMESPACE, &resource);
        eventually("all getters find it settled", async || {
            let read = contract::read("ControlPlane", contract, &api.get(CLUSTER).await.unwrap());
            let expected = json!({ "initialized": true, "version": "v1.36.0", "statusVersion": "v1.36.0",
                "statusVersions": [{ "version": "v1.36.0", "replicas": 1 }],
                "replicas": 1, "statusReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "upToDateReplicas": 1,
                "selector": "cluster.x-k8s.io/cluster-name=c,cluster.x-k8s.io/control-plane=",
                "isProvisioning": false, "isUpgrading": false, "isScaling": false });
            if read == expected { Ok(()) } else { Err(format!("{contract}: {read}")) }
        })
        .await;
    }
}

/// Nothing is rewritten at rest.
async fn stands_still(site: &TalosSite) {
    let versions = async || {
        let mut versions = BTreeMap::new();
        let found = site.control_plane().await;
        versions.insert("control plane".to_owned(), found.resource_version());
        for machine in site.machines().await {
            versions.insert(machine.name_any(), machine.resource_version());
        }
        for secret in namespaced::<Secret>(&site.bench).list(&ListParams::default()).await.unwrap().items {
            versions.insert(secret.name_any(), secret.resource_version());
        }
        let template = site.example("ExampleMachineTemplate", "t").await;
        versions.insert("template".to_owned(), template.resource_version());
        versions
    };
    eventually("everything comes to rest", async || {
        let before = versions().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = versions().await;
        if before == after { Ok(()) } else { Err(format!("{before:?} {after:?}")) }
    })
    .await;
    // Longer than until it is looked at again.
    let before = versions().await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(before, versions().await);
}

/// What is taken from objects is put back.
async fn comes_back(site: &TalosSite, found: &TalosControlPlane) {
    let bare = Patch::Merge(json!({ "metadata": { "finalizers": null, "ownerReferences": null } }));
    let params = PatchParams::default();
    let name = site.machines().await[0].name_any();
    let unowned = Patch::Merge(
        json!({ "metadata": { "ownerReferences": null, "labels": { "cluster.x-k8s.io/control-plane": "" } } }),
    );
    namespaced::<Machine>(&site.bench).patch(&name, &params, &unowned).await.unwrap();
    namespaced::<Secret>(&site.bench).patch("c-kubeconfig", &params, &unowned).await.unwrap();
    site.strip_template("t").await;
    namespaced::<TalosControlPlane>(&site.bench).patch(CLUSTER, &params, &bare).await.unwrap();
    eventually("owners and finalizers come back", async || {
        let machine = namespaced::<Machine>(&site.bench).get(&name).await.unwrap();
        let secret = namespaced::<Secret>(&site.bench).get("c-kubeconfig").await.unwrap();
        let template = site.example("ExampleMachineTemplate", "t").await;
        let control_plane = site.control_plane().await;
        let is_owned = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
            owners.iter().any(|owner| {
                Some(&owner.uid) == found.metadata.uid.as_ref() && owner.controller == Some(true)
            })
        };
        let done = is_owned(machine.owner_references())
            && is_owned(secret.owner_references())
            && template.owner_references().iter().any(|owner| owner.kind == "Cluster")
            && control_plane.owner_references().iter().any(|owner| owner.kind == "Cluster")
            && control_plane.finalizers() == found.finalizers();
        if done {
            Ok(())
        } else {
            Err(format!("{machine:?} {:?} {:?}", control_plane.metadata, secret.metadata))
        }
    })
    .await;
}

/// A certificate of the kubeconfig that ends in a month is made anew, in time and without a word of anyone.
async fn is_renewed(site: &TalosSite) {
    let secrets = namespaced::<Secret>(&site.bench);
    let text = async || {
        let data = secrets.get("c-kubeconfig").await.unwrap().data.unwrap();
        String::from_utf8(data["value"].0.clone()).unwrap()
    };
    let month = Duration::from_hours(30 * 24);
    let (crt, key) = site.bench.plane.authority.issue_for("admin", &["system:masters"], month);
    let mut old = Kubeconfig::from_yaml(&text().await).unwrap();
    let user = old.auth_infos[0].auth_info.as_mut().unwrap();
    user.client_certificate_data = Some(STANDARD.encode(crt));
    user.client_key_data = Some(STANDARD.encode(key).into());
    let old = serde_json::to_string(&old).unwrap();
    let patch = Patch::Merge(json!({ "stringData": { "value": old } }));
    secrets.patch("c-kubeconfig", &PatchParams::default(), &patch).await.unwrap();
    let renewed = eventually("the kubeconfig is renewed", async || {
        let now = text().await;
        if now == old { Err("it is the old one".to_owned()) } else { Ok(now) }
    })
    .await;
    let (renewed, options) = (Kubeconfig::from_yaml(&renewed).unwrap(), KubeConfigOptions::default());
    let config = kube::Config::from_custom_kubeconfig(renewed, &options).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    Api::<k8s_openapi::api::core::v1::Node>::all(client).list(&ListParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_made() {
    let site = TalosSite::start().await;
    site.create(1, false).await;
    let found = site
        .until("it waits for the endpoint", |found| {
            found.status.as_ref().is_some_and(|status| !status.selector.is_empty())
        })
        .await;
    assert_eq!(found.finalizers(), ["talos.controlplane.cluster.x-k8s.io"]);
    assert_eq!(said(&found, "Available").0, "False");
    assert!(site.machines().await.is_empty());
    assert!(namespaced::<Secret>(&site.bench).get("c-ca").await.is_ok());
    // A paused one gets none either, once there is an endpoint.
    let pause = Patch::Merge(json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": "" } } }));
    let control_planes = namespaced::<TalosControlPlane>(&site.bench);
    control_planes.patch(CLUSTER, &PatchParams::default(), &pause).await.unwrap();
    site.until("it is paused", |found| said(found, "Paused").0 == "True").await;
    let port: i32 = site.bench.plane.server.rsplit_once(':').unwrap().1.parse().unwrap();
    let endpoint =
        Patch::Merge(json!({ "spec": { "controlPlaneEndpoint": { "host": "127.0.0.1", "port": port } } }));
    namespaced::<Cluster>(&site.bench).patch(CLUSTER, &PatchParams::default(), &endpoint).await.unwrap();
    tokio::time::sleep(scaled(Duration::from_secs(3))).await;
    assert!(site.machines().await.is_empty());
    let go_on = Patch::Merge(json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": null } } }));
    control_planes.patch(CLUSTER, &PatchParams::default(), &go_on).await.unwrap();
    site.until_settled(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_and_go_and_etcd_with_them() {
    let site = TalosSite::start().await;
    site.create(3, true).await;
    site.talos.shout();
    site.until_settled(3).await;
    assert_eq!(count(&site, "Bootstrap"), 1, "{:?}", site.talos.calls());
    assert_eq!(count(&site, "EtcdRemoveMemberByID"), 0, "names in upper case are the machines'");

    // A status that is lost is found again, without a second etcd.
    let lost = Patch::Merge(json!({ "status": { "bootstrapped": false } }));
    let control_planes = namespaced::<TalosControlPlane>(&site.bench);
    control_planes.patch_status(CLUSTER, &PatchParams::default(), &lost).await.unwrap();
    site.until("it is bootstrapped again", |found| {
        found.status.as_ref().is_some_and(|status| status.bootstrapped)
    })
    .await;
    assert_eq!(count(&site, "Bootstrap"), 1);

    site.change(json!({ "replicas": 1 })).await;
    site.until_settled(1).await;
    assert_eq!((count(&site, "EtcdForfeitLeadership"), count(&site, "EtcdLeaveCluster")), (2, 2));
    // Up and down again within a moment.
    site.change(json!({ "replicas": 3 })).await;
    site.until("a machine is made", |found| found.status.as_ref().is_some_and(|status| status.replicas > 1))
        .await;
    site.change(json!({ "replicas": 1 })).await;
    site.until_settled(1).await;

    site.change(json!({ "replicas": 0 })).await;
    let refused = site
        .until("zero is refused", |found| {
            let old = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
            old.iter().any(|one| {
                one.type_ == "Resized" && one.message == "Cannot scale down control plane nodes to 0"
            })
        })
        .await;
    assert_eq!(refused.status.unwrap().replicas, 1);
    site.change(json!({ "replicas": 1 })).await;

    // The control plane goes with everything that it has.
    control_planes.delete(CLUSTER, &DeleteParams::default()).await.unwrap();
    eventually("all are gone", async || {
        let left: Vec<_> = site.machines().await.iter().map(ResourceExt::name_any).collect();
        let is_gone = control_planes.get_opt(CLUSTER).await.unwrap().is_none();
        if left.is_empty() && is_gone { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_deleted_is_replaced_and_its_member_taken_out() {
    let site = TalosSite::start().await;
    site.create(3, true).await;
    site.until_settled(3).await;
    let before: Vec<u64> = site.talos.members().iter().map(|member| member.id).collect();
    let gone = site.machines().await[1].name_any();
    namespaced::<Machine>(&site.bench).delete(&gone, &DeleteParams::default()).await.unwrap();
    eventually("it is replaced", async || {
        let names: Vec<_> = site.machines().await.iter().map(ResourceExt::name_any).collect();
        if names.len() == 3 && !names.contains(&gone) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    site.until_settled(3).await;
    let after: Vec<u64> = site.talos.members().iter().map(|member| member.id).collect();
    assert_eq!(after.iter().filter(|id| !before.contains(id)).count(), 1, "{before:?} {after:?}");
    assert_eq!(count(&site, "EtcdRemoveMemberByID"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_replaced_when_the_spec_changes() {
    let site = TalosSite::start().await;
    site.create(2, true).await;
    site.until_settled(2).await;
    site.change(json!({ "version": "v1.36.1" })).await;
    site.until("it rolls", |found| said(found, "RollingOut").0 == "True").await;
    let are = async |version: &str| {
        site.until_settled(2).await;
        let machines = site.machines().await;
        assert!(machines.iter().all(|machine| machine.spec.version == version), "{machines:?}");
        machines.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    };
    let updated = are("v1.36.1").await;
    // A configuration that is not the wanted one counts too.
    site.change(json!({ "controlPlaneConfig": { "controlplane": { "talosVersion": "v1.12" } } })).await;
    site.until("it rolls again", |found| said(found, "RollingOut").0 == "True").await;
    let again = are("v1.36.1").await;
    assert!(again.iter().all(|name| !updated.contains(name)), "{updated:?} {again:?}");
    let marks =
        site.machines().await.iter().filter(|one| one.annotations().contains_key(LEAVING_ANNOTATION)).count();
    assert_eq!(marks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_make_no_machine_twice_and_strangers_leave_etcd() {
    let site = TalosSite::start().await;
    let _second = site.bench.setup.run_beside(&site.bench.plane, &[]).await;
    site.create(3, true).await;
    let mut most = 0;
    let settled = site.until_settled(3);
    tokio::pin!(settled);
    loop {
        tokio::select! {
            _ = &mut settled => break,
            () = tokio::time::sleep(Duration::from_millis(200)) => most = most.max(site.machines().await.len()),
        }
    }
    assert_eq!(most, 3, "machines at once");
    // Either program may tell the one node, which takes the second word for what it is.
    let told: BTreeSet<_> = site
        .talos
        .calls()
        .into_iter()
        .filter(|call| call.name == "Bootstrap")
        .map(|call| call.node)
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    // A member that a lost machine left is taken out, and no other.
    let before = site.talos.members();
    let stray = site.talos.add_stray_member("lost");
    eventually("it is taken out", async || {
        let members = site.talos.members();
        if members == before { Ok(()) } else { Err(format!("{stray} {members:?}")) }
    })
    .await;
    assert_eq!(site.talos.faults(), Vec::<String>::new());
}
