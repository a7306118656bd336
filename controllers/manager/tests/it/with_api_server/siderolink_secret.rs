//! The Secret of SideroLink is made once, whoever comes first, and upstream's is taken over.

use bloomery_controllers::apply::installation::ensure;
use bloomery_testkit::ControlPlane;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_made_once_and_upstreams_is_taken_over() {
    let plane = ControlPlane::start().await;
    let client = plane.client("admin", &["system:masters"]).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let own = serde_json::from_value(json!({ "metadata": { "name": "sidero-system" } })).unwrap();
    namespaces.create(&PostParams::default(), &own).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "sidero-system");

    let (one, other) = tokio::join!(ensure(&client), ensure(&client));
    assert_ne!(one.unwrap(), other.unwrap(), "one of both made it");
    let made = secrets.get("siderolink").await.unwrap();
    assert_eq!(made.labels().get("clusterctl.cluster.x-k8s.io/move").map(String::as_str), Some(""));
    assert!(!ensure(&client).await.unwrap());
    assert_eq!(secrets.get("siderolink").await.unwrap().data, made.data);

    // As a move from Sidero Metal leaves it.
    secrets.delete("siderolink", &DeleteParams::default()).await.unwrap();
    let former: Api<Secret> = Api::namespaced(client.clone(), "default");
    let key = "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY=";
    let secret = json!({ "metadata": { "name": "siderolink" }, "stringData": { "installation-id": "x", "private-key": key } });
    former.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    assert!(ensure(&client).await.unwrap());
    assert_eq!(secrets.get("siderolink").await.unwrap().data, former.get("siderolink").await.unwrap().data);
}
