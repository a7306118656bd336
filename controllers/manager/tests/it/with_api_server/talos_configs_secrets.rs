//! The Secrets of clusters against a real API server: what another time or a user left of them.

use std::collections::BTreeMap;

use bloomery_api::TalosConfig;
use bloomery_api::contract::Cluster;
use bloomery_testkit::eventually;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::bootstrap::{Place, documents, of_type, start, text, told};
use crate::support::controllers::talos;

/// What an earlier cluster or machine of the same name left is not used, and a cluster that runs gets no other secrets.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_another_time_are_not_used() {
    let (bench, _controllers) = start().await;
    let place = Place::new(&bench, "left").await;
    let left = |kind: &str, version: &str, name: &str| json!({ "apiVersion": version, "kind": kind, "name": name, "uid": "earlier", "controller": true });
    let secret = |name: &str, owner: Value, data: Value| {
        json!({ "apiVersion": "v1", "kind": "Secret", "stringData": data, "metadata": { "name": name,
            "labels": { "cluster.x-k8s.io/cluster-name": "c" }, "ownerReferences": [owner] } })
    };
    let of_cluster = || left("Cluster", "cluster.x-k8s.io/v1beta1", "c");
    place.create(secret("c-talos", of_cluster(), json!({ "bundle": "earlier" }))).await;
    let of_config = left("TalosConfig", "bootstrap.cluster.x-k8s.io/v1alpha3", "m");
    place.create(secret("m-bootstrap-data", of_config, json!({ "value": "earlier" }))).await;
    place.cluster("c").await;
    place.machine("c", "m", of_type("controlplane")).await;
    let is_about = |config: &TalosConfig, secret: &str| {
        told(config).iter().any(|one| one.contains(&format!("the Secret {secret} is of an earlier")))
    };
    place.until("m", "it waits for the configuration", |config| is_about(config, "m-bootstrap-data")).await;
    place.api::<Secret>().delete("m-bootstrap-data", &DeleteParams::default()).await.unwrap();
    place.until("m", "it waits for the bundle", |config| is_about(config, "c-talos")).await;
    place.api::<Secret>().delete("c-talos", &DeleteParams::default()).await.unwrap();
    place.until_ready("m").await;
    assert_ne!(place.text("m-bootstrap-data", "value").await, "earlier");

    // The cluster runs, and its secrets are lost.
    let bundle = place.api::<Secret>().get("c-talos").await.unwrap();
    place
        .patch_status::<Cluster>("c", json!({ "initialization": { "controlPlaneInitialized": true } }))
        .await;
    place.api::<Secret>().delete("c-talos", &DeleteParams::default()).await.unwrap();
    place.machine("c", "late", of_type("worker")).await;
    let missing =
        "the Secret c-talos is missing, and the cluster runs with the secrets that it held: restore it";
    place
        .until("late", "it says what is missing", |config| {
            told(config).iter().any(|one| one.ends_with(missing))
        })
        .await;
    let restored = Secret {
        metadata: kube::core::ObjectMeta {
            name: Some("c-talos".to_owned()),
            labels: bundle.metadata.labels.clone(),
            ..kube::core::ObjectMeta::default()
        },
        ..bundle.clone()
    };
    place.api::<Secret>().create(&PostParams::default(), &restored).await.unwrap();
    place.until_ready("late").await;
    let ours: Value = documents(&place.text("late-bootstrap-data", "value").await).remove(0);
    assert_eq!(ours["machine"]["token"], documents(&text(&bundle, "bundle"))[0]["trustdinfo"]["token"]);
    eventually("it is the cluster's again", async || {
        let found = place.api::<Secret>().get("c-talos").await.map_err(|error| error.to_string())?;
        if found.owner_references() == bundle.owner_references() {
            Ok(())
        } else {
            Err(format!("{:?}", found.metadata))
        }
    })
    .await;
}

/// Type `none`: what the user wrote, with the authority from a control plane whatever comes first; provider-cases.md A30.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_wrote_is_taken_as_it_is_workers_first() {
    let (bench, _controllers) = start().await;
    let place = Place::new(&bench, "none").await;
    place.cluster("c").await;
    let talos = talos();
    let bundle = talos.new_secrets("v1.13").await.unwrap();
    let mut data = BTreeMap::new();
    for type_ in ["worker", "controlplane"] {
        let request = bloomery_talosconfig::Generate {
            talos_version: "v1.13".to_owned(),
            ..bloomery_talosconfig::Generate::new(type_, "c", "https://10.0.0.1:6443", bundle.clone().into())
        };
        data.insert(type_, talos.generate(&request).await.unwrap());
    }
    let spec = |type_: &str| json!({ "generateType": "none", "data": data[type_].expose() });
    for number in 0..4 {
        let name = format!("w{number}");
        place.machine("c", &name, spec("worker")).await;
        place.until_ready(&name).await;
    }
    assert!(!place.secrets().await.contains_key("c-ca"));
    for number in 0..3 {
        place.machine("c", &format!("p{number}"), spec("controlplane")).await;
    }
    for number in 0..3 {
        place.until_ready(&format!("p{number}")).await;
    }
    let secrets = place.secrets().await;
    let authority = talos.inspect_secrets(&bundle.clone().into()).await.unwrap().kubernetes.unwrap();
    assert_eq!(text(&secrets["c-ca"], "tls.crt"), authority.crt);
    assert_eq!(text(&secrets["c-ca"], "tls.key"), authority.key.expose());
    assert_eq!(text(&secrets["p0-bootstrap-data"], "value"), data["controlplane"].expose());
    for absent in ["c-talos", "c-talosconfig"] {
        assert!(!secrets.contains_key(absent), "{absent}");
    }
}
