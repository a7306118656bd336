//! Secrets are written again once for each key, and stay what they are.
//!
//! That the API server encrypts what is written is shown in init's tests.

use bloomery_controllers::apply::secrets::encrypt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use bloomery_testkit::ControlPlane;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_again_once_for_each_key() {
    let plane = ControlPlane::start().await;
    let client = plane.client("admin", &["system:masters"]).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // The plane's own, which `apply` makes before.
    let own = serde_json::from_value(json!({ "metadata": { "name": "sidero-system" } })).unwrap();
    namespaces.create(&PostParams::default(), &own).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "sidero-system");
    for name in ["one", "two"] {
        let secret = json!({ "metadata": { "name": name }, "stringData": { "pass": name } });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }
    let before = secrets.get("one").await.unwrap();

    assert!(encrypt(&client, "key-a").await.unwrap() >= 2);
    assert_eq!(encrypt(&client, "key-a").await.unwrap(), 0, "the second boot writes nothing");
    assert_eq!(secrets.get("one").await.unwrap().data, before.data);
    assert!(encrypt(&client, "key-b").await.unwrap() >= 2, "another key");

    // A store from before there was a record, as a restored backup is.
    let records: Api<ConfigMap> = Api::namespaced(client.clone(), "sidero-system");
    records.delete("bloomery-secrets-at-rest", &DeleteParams::default()).await.unwrap();
    assert!(encrypt(&client, "key-b").await.unwrap() >= 2);
}
