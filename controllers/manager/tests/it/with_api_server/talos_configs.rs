//! TalosConfigs against a real API server and Talos's own library: spec/talos-providers.md §1 and §6.1, and attempts to have
//! two bundles for one cluster, a second configuration for one machine, or the secrets of an earlier cluster.

use std::collections::{BTreeMap, BTreeSet};

use bloomery_api::TalosConfig;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_testkit::eventually;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bootstrap::{Place, documents, newer, of_type, reference_to, start, text, told};
use crate::support::contract;
use crate::support::controllers::{Controllers, talos};

fn client_config(text: &str) -> Value {
    documents(text).remove(0)
}

fn endpoints(client_config: &Value) -> Vec<&str> {
    let context = &client_config["contexts"][client_config["context"].as_str().unwrap()];
    context["endpoints"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

/// provider-cases.md A1-A4, the client configuration as machines come and go.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_shares_one_bundle_and_its_client_configuration_follows_the_control_plane() {
    let (bench, _controllers) = start().await;
    let place = Place::new(&bench, "one").await;
    place.cluster("c").await;
    let types = ["init", "controlplane", "controlplane", "worker", "worker", "worker", "worker"];
    let names: Vec<String> = (0..types.len()).map(|number| format!("m{number}")).collect();
    let made = names.iter().zip(types).map(|(name, type_)| place.machine("c", name, of_type(type_)));
    futures::future::join_all(made).await;
    for name in &names {
        place.until_ready(name).await;
    }

    let bundle = place.text("c-talos", "bundle").await;
    let secrets = place.secrets().await;
    let expected: BTreeSet<String> = names
        .iter()
        .map(|name| format!("{name}-bootstrap-data"))
        .chain(["c-talos", "c-ca", "c-talosconfig"].map(str::to_owned))
        .collect();
    assert_eq!(secrets.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let talos = talos();
    let as_value = |text: &str| documents(text).remove(0);
    let mut shared = BTreeSet::new();
    for (name, type_) in names.iter().zip(types) {
        let secret = &secrets[&format!("{name}-bootstrap-data")];
        let value = text(secret, "value");
        assert_eq!((secret.data.as_ref().unwrap().len(), value.len() < 32_768), (1, true));
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        let said = talos.inspect_config(&value.as_str().into()).await.unwrap();
        assert_eq!(said.machine_type, type_, "{name}");
        assert_eq!(said.endpoint, "https://10.0.0.1:6443");
        let config = as_value(&value);
        shared.insert(
            json!([
                config["machine"]["token"],
                config["machine"]["ca"]["crt"],
                config["cluster"]["id"],
                config["cluster"]["secret"],
                config["cluster"]["controlPlane"],
                config["cluster"]["token"],
                config["cluster"]["ca"]["crt"]
            ])
            .to_string(),
        );
        if type_ != "worker" {
            assert_eq!(as_value(said.bundle.expose()), as_value(&bundle), "{name}");
            let ca = said.kubernetes_ca.unwrap();
            assert_eq!(
                (ca.crt, ca.key.expose()),
                (text(&secrets["c-ca"], "tls.crt"), text(&secrets["c-ca"], "tls.key").as_str())
            );
        }
    }
    assert_eq!(shared.len(), 1, "all machines share what they join by");
    assert_eq!(
        (secrets["c-ca"].data.as_ref().unwrap().len(), secrets["c-ca"].type_.as_deref()),
        (2, Some("Opaque"))
    );
    let init = place.until_ready("m0").await.status.unwrap();
    assert_eq!((init.ready, init.data_secret_name.as_deref()), (true, Some("m0-bootstrap-data")));
    assert_eq!(init.observed_generation, 1);
    assert!(endpoints(&client_config(&init.talos_config)).is_empty());

    // Addresses come, go, and come in another order; those of workers do not count.
    let until_endpoints = async |expected: &[&str]| {
        eventually(&format!("the client configuration names {expected:?}"), async || {
            let config = client_config(&place.text("c-talosconfig", "talosconfig").await);
            let found = endpoints(&config);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    until_endpoints(&[]).await;
    place
        .addresses("m0", &[("InternalIP", "10.77.0.9"), ("ExternalIP", "192.0.2.7"), ("Hostname", "x")])
        .await;
    place.addresses("m1", &[("InternalIP", "10.77.0.10"), ("InternalDNS", "y")]).await;
    place.addresses("m2", &[("InternalIP", "10.77.0.9"), ("InternalIP", "fd00::1")]).await;
    place.addresses("m3", &[("InternalIP", "10.77.0.99")]).await;
    until_endpoints(&["10.77.0.10", "10.77.0.9", "10.77.0.9", "192.0.2.7", "fd00::1"]).await;
    place.api::<TalosConfig>().delete("m2", &DeleteParams::default()).await.unwrap();
    place.api::<Machine>().delete("m2", &DeleteParams::default()).await.unwrap();
    until_endpoints(&["10.77.0.10", "10.77.0.9", "192.0.2.7"]).await;
    // Removed, it comes back.
    place.api::<Secret>().delete("c-talosconfig", &DeleteParams::default()).await.unwrap();
    eventually("it is made anew", async || {
        let found =
            place.api::<Secret>().get_opt("c-talosconfig").await.map_err(|error| error.to_string())?;
        found.map(drop).ok_or_else(|| "it is not there".to_owned())
    })
    .await;
}

/// Two programs and nine TalosConfigs at once: whose bundle is created first is the one that all use.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_make_one_bundle_for_each_of_three_clusters() {
    let (bench, _one) = start().await;
    let _two = bench.setup.run_beside(&bench.plane, &[]).await;
    let place = Place::new(&bench, "race").await;
    let clusters = ["a", "b", "c"];
    for cluster in clusters {
        place.cluster(cluster).await;
    }
    let names: Vec<(String, &str)> = clusters
        .iter()
        .flat_map(|cluster| (0..3).map(move |number| (format!("{cluster}{number}"), *cluster)))
        .collect();
    let made = names.iter().map(|(name, cluster)| place.machine(cluster, name, of_type("controlplane")));
    futures::future::join_all(made).await;
    let talos = talos();
    let mut bundles = BTreeMap::new();
    for (name, cluster) in &names {
        place.until_ready(name).await;
        let value = place.text(&format!("{name}-bootstrap-data"), "value").await;
        let said = talos.inspect_config(&value.as_str().into()).await.unwrap();
        let bundle = documents(said.bundle.expose()).remove(0);
        let stored = documents(&place.text(&format!("{cluster}-talos"), "bundle").await).remove(0);
        assert_eq!(bundle, stored, "{name}");
        bundles.insert((*cluster).to_owned(), bundle.to_string());
    }
    assert_eq!(bundles.values().collect::<BTreeSet<_>>().len(), clusters.len());
}

/// The versions of everything that the provider writes.
async fn versions(place: &Place<'_>) -> BTreeMap<String, String> {
    let secrets = place.api::<Secret>().list(&ListParams::default()).await.unwrap();
    let configs = place.api::<TalosConfig>().list(&ListParams::default()).await.unwrap();
    let secrets =
        secrets.iter().map(|one| (format!("Secret {}", one.name_any()), one.resource_version().unwrap()));
    let configs =
        configs.iter().map(|one| (format!("config {}", one.name_any()), one.resource_version().unwrap()));
    secrets.chain(configs).collect()
}

/// Waits until the program has looked at that many TalosConfigs since it started.
async fn until_looked(controllers: &Controllers, count: u64) {
    eventually("all TalosConfigs were looked at", async || {
        let (_, body) = controllers.get("/controllers").await?;
        let table: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let row = table
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "talosconfigs")
            .cloned()
            .unwrap_or_default();
        let is_done = row["reconciles"].as_u64() >= Some(count) && row["underWay"] == 0;
        if is_done { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
}

/// Owners come back and old versions of them are mended; nothing else is ever written, not by a program that starts either.
#[tokio::test(flavor = "multi_thread")]
async fn owners_come_back_and_at_rest_nothing_is_written() {
    let (bench, controllers) = start().await;
    let place = Place::new(&bench, "rest").await;
    let cluster = place.cluster("c").await;
    for (name, type_) in [("m0", "controlplane"), ("m1", "controlplane"), ("m2", "worker")] {
        place.machine("c", name, of_type(type_)).await;
    }
    place.addresses("m0", &[("InternalIP", "10.0.0.7")]).await;
    // A user's Secret of the same cluster, and one that something else controls, stay as they are.
    let foreign =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": true });
    for (name, owners) in [("users", json!([])), ("controlled", json!([foreign]))] {
        place
            .create(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "ownerReferences": owners,
                "labels": { "cluster.x-k8s.io/cluster-name": "c" } }, "stringData": { "a": "b" } }))
            .await;
    }
    for name in ["m0", "m1", "m2"] {
        place.until_ready(name).await;
    }
    eventually("the client configuration names the address", async || {
        let config = client_config(&place.text("c-talosconfig", "talosconfig").await);
        if endpoints(&config) == ["10.0.0.7"] { Ok(()) } else { Err(config.to_string()) }
    })
    .await;
    let owners = async || -> BTreeMap<String, Value> {
        let of = |secret: &Secret| serde_json::to_value(secret.owner_references()).unwrap();
        place.secrets().await.iter().map(|(name, secret)| (name.clone(), of(secret))).collect()
    };
    let before = owners().await;
    let own = json!([reference_to(&cluster)]);
    for name in ["c-talos", "c-ca", "c-talosconfig"] {
        assert_eq!(before[name], own, "{name}");
    }
    let config: TalosConfig = place.api().get("m2").await.unwrap();
    assert_eq!(
        before["m2-bootstrap-data"],
        json!([{ "apiVersion": "bootstrap.cluster.x-k8s.io/v1alpha3", "kind": "TalosConfig", "name": "m2",
            "uid": config.uid(), "controller": true, "blockOwnerDeletion": true }])
    );
    let data = |secrets: &BTreeMap<String, Secret>| -> BTreeMap<String, Value> {
        secrets.iter().map(|(name, secret)| (name.clone(), json!(secret.data))).collect()
    };
    let contents = data(&place.secrets().await);

    // All owners are removed, or put into a version that is old.
    let mut stale = reference_to(&cluster);
    stale["apiVersion"] = json!("cluster.x-k8s.io/v1beta1");
    for (name, references) in [
        ("c-talos", Value::Null),
        ("c-ca", json!([stale])),
        ("c-talosconfig", json!([])),
        ("m0-bootstrap-data", Value::Null),
        ("m2-bootstrap-data", json!([])),
    ] {
        place.patch::<Secret>(name, json!({ "metadata": { "ownerReferences": references } })).await;
    }
    eventually("all owners are back", async || {
        let now = owners().await;
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    // An authority that was removed comes back as it was.
    place.api::<Secret>().delete("c-ca", &DeleteParams::default()).await.unwrap();
    eventually("the authority is back", async || {
        let found = place.api::<Secret>().get_opt("c-ca").await.map_err(|error| error.to_string())?;
        found.map(drop).ok_or_else(|| "it is not there".to_owned())
    })
    .await;
    assert_eq!(data(&place.secrets().await), contents);

    // At rest: a program that starts looks at everything and writes nothing.
    until_looked(&controllers, 3).await;
    let still = versions(&place).await;
    drop(controllers);
    let again = bench.setup.run(&bench.plane).await;
    until_looked(&again, 3).await;
    place.patch::<Machine>("m2", json!({ "metadata": { "labels": { "touched": "" } } })).await;
    until_looked(&again, 4).await;
    assert_eq!(versions(&place).await, still);
}

/// provider-cases.md A35-A37, and what a deletion needs.
#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_what_is_missing_and_for_the_end_of_a_pause() {
    let (bench, _controllers) = start().await;
    let place = Place::new(&bench, "wait").await;
    let spec = of_type("controlplane");
    // Nobody owns it.
    place.config("c", "m", spec.clone(), None).await;
    let waits = place.until("m", "it waits", |config| newer(config, "Ready") == "False NotReady").await;
    assert!(told(&waits).is_empty(), "as upstream: {:?}", told(&waits));
    let message = |config: &TalosConfig| {
        let conditions = &config.status.as_ref().unwrap().v1beta2_status.conditions;
        conditions.iter().find(|one| one.type_ == "DataSecretAvailable").unwrap().message.clone()
    };
    assert_eq!(message(&waits), "Waiting for a Machine or MachinePool that owns it");
    // A Machine, but no Cluster.
    let machine = place.machine_alone("c", "m", &spec).await;
    place
        .patch::<TalosConfig>("m", json!({ "metadata": { "ownerReferences": [reference_to(&machine)] } }))
        .await;
    place
        .until("m", "it waits for the Cluster", |config| {
            message(config) == "Waiting for the Cluster that its owner names"
        })
        .await;
    // A Cluster without infrastructure.
    place
        .create(
            json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": "c" },
            "spec": { "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 } } }),
        )
        .await;
    let waits = place.until("m", "it waits for the infrastructure", |config| !told(config).is_empty()).await;
    assert_eq!(
        told(&waits),
        [
            "DataSecretAvailable False Info WaitingForClusterInfrastructure",
            "Ready False Info WaitingForClusterInfrastructure"
        ]
    );
    for (contract, status) in status_by_contract(&place, "m").await {
        assert_eq!(status, json!({ "dataSecretCreated": null, "dataSecretName": null }), "{contract}");
    }
    // It comes while the Cluster is paused.
    place.pause("c", Some(true)).await;
    place.until("m", "it is paused", |config| newer(config, "Paused") == "True Paused").await;
    place
        .patch_status::<Cluster>("c", json!({ "initialization": { "infrastructureProvisioned": true } }))
        .await;
    // What was made after it is looked at after it.
    place.cluster("other").await;
    place.machine("other", "canary", of_type("worker")).await;
    place.until_ready("canary").await;
    let secrets: Vec<_> =
        place.secrets().await.into_keys().filter(|name| name.starts_with(['c', 'm'])).collect();
    assert_eq!(secrets, ["canary-bootstrap-data"]);
    place.pause("c", None).await;
    let ready = place.until_ready("m").await;
    assert_eq!(newer(&ready, "Paused"), "False NotPaused");
    assert_eq!(newer(&ready, "Ready"), "True Ready");
    for (contract, status) in status_by_contract(&place, "m").await {
        assert_eq!(
            status,
            json!({ "dataSecretCreated": true, "dataSecretName": "m-bootstrap-data" }),
            "{contract}"
        );
    }

    // After a move the status is lost: the Machine says where the configuration is, and nothing is generated.
    let spec_of_moved = of_type("worker");
    let moved = place.machine_alone("other", "moved", &spec_of_moved).await;
    place
        .patch::<Machine>("moved", json!({ "spec": { "bootstrap": { "dataSecretName": "restored" } } }))
        .await;
    place.config("other", "moved", spec_of_moved, Some(&moved)).await;
    let adopted = place.until_ready("moved").await.status.unwrap();
    assert_eq!((adopted.ready, adopted.data_secret_name.as_deref()), (true, Some("restored")));
    assert!(!place.secrets().await.contains_key("moved-bootstrap-data"));

    // An old release's finalizer is taken off, and no other.
    let finalizers = ["talosconfig.bootstrap.cluster.x-k8s.io", "example.com/mine"];
    place.patch::<TalosConfig>("m", json!({ "metadata": { "finalizers": finalizers } })).await;
    place.api::<TalosConfig>().delete("m", &DeleteParams::default()).await.unwrap();
    place.until("m", "it has one finalizer", |config| config.finalizers() == ["example.com/mine"]).await;
}

/// What Cluster API's own getters find by each contract, in the version that the definition's label names for it.
async fn status_by_contract(place: &Place<'_>, name: &str) -> [(&'static str, Value); 2] {
    let versions = [("v1beta1", "v1alpha3"), ("v1beta2", "v1beta1")];
    let read = versions.map(async |(contract, version)| {
        let kind = GroupVersionKind::gvk("bootstrap.cluster.x-k8s.io", version, "TalosConfig");
        let object = place.dynamic(&ApiResource::from_gvk(&kind)).get(name).await.unwrap();
        (contract, contract::read("Bootstrap", contract, &object))
    });
    futures::future::join_all(read).await.try_into().unwrap()
}

/// sfyra's bad configuration: condition, mended, it goes on. Everything else goes on all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_does_not_fit_is_told_and_mended() {
    let (bench, _controllers) = start().await;
    let place = Place::new(&bench, "bad").await;
    place.cluster("c").await;
    let add = json!([{ "op": "add", "path": "/machine/network", "value": {} }]);
    let mut bad = of_type("controlplane");
    bad["configPatches"] = add.clone();
    place.machine("c", "m", bad).await;
    let failed = place.until("m", "it failed", |config| !told(config).is_empty()).await;
    let text = "JSON6902 patches are not supported for multi-document machine configuration";
    assert_eq!(
        told(&failed),
        [
            format!("DataSecretAvailable False Error DataSecretGenerationFailed {text}"),
            format!("Ready False Error DataSecretGenerationFailed {text}")
        ]
    );
    assert_eq!(newer(&failed, "DataSecretAvailable"), "False InternalError");
    assert_eq!(failed.status.as_ref().unwrap().observed_generation, 0);
    // Others of the cluster are not concerned.
    place.machine("c", "good", of_type("controlplane")).await;
    place.until_ready("good").await;
    assert!(!place.secrets().await.contains_key("m-bootstrap-data"));

    // The spec stands still, but for Cluster API's own changes.
    let configs: Api<TalosConfig> = place.api();
    let mended = json!({ "spec": { "configPatches": null, "strategicPatches": ["machine: {time: {servers: [192.0.2.1]}}"] } });
    let refused = configs
        .patch("m", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&mended))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("TalosConfig.Spec is immutable"), "{refused}");
    let in_place = json!({ "metadata": { "annotations":
        { "in-place-updates.internal.cluster.x-k8s.io/update-in-progress": "" } }, "spec": mended["spec"] });
    place.patch::<TalosConfig>("m", in_place).await;
    place.until_ready("m").await;
    let config = documents(&place.text("m-bootstrap-data", "value").await).remove(0);
    assert_eq!(config["machine"]["time"]["servers"], json!(["192.0.2.1"]));

    // Made once: a further change makes no other configuration.
    let before = place.text("m-bootstrap-data", "value").await;
    let other = json!({ "spec": { "strategicPatches": ["machine: {time: {servers: [192.0.2.2]}}"] } });
    let changed = place.patch::<TalosConfig>("m", other).await;
    place
        .until("m", "the change was looked at", |config| {
            config.status.as_ref().unwrap().observed_generation == changed.metadata.generation.unwrap()
        })
        .await;
    assert_eq!(place.text("m-bootstrap-data", "value").await, before);
}
