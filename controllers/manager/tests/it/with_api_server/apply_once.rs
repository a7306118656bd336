//! `controllers apply` and the binding of administrators, which belongs to them once it is made.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::bench::Bench;

const BINDING: &str = "bloomery:admins";

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_or_changed_binding_of_administrators_stays_so() {
    let bench = Bench::start().await;
    bench.apply();
    let bindings: Api<ClusterRoleBinding> = bench.all();
    let paired = bench.plane.client("admin:alice@laptop#00000000", &[BINDING]).await;
    let secrets: Api<Secret> = Api::all(paired);
    secrets.list(&ListParams::default()).await.unwrap();

    let narrowed = json!({ "metadata": { "labels": { "changed": "by-hand" } }, "subjects": [] });
    bench.patch::<ClusterRoleBinding>(BINDING, narrowed).await;
    bench.apply();
    let kept = bindings.get(BINDING).await.unwrap();
    assert_eq!(
        (kept.labels()["changed"].as_str(), kept.subjects.clone().unwrap_or_default()),
        ("by-hand", vec![])
    );

    bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    bench.apply();
    assert!(bindings.get_opt(BINDING).await.unwrap().is_none(), "apply made it anew");
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused:?}");
    // Everything else is put right as ever.
    assert!(bindings.get_opt("bloomery:bootsvc").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_of_an_earlier_version_is_put_on_record() {
    let bench = Bench::start().await;
    bench.apply();
    // What an earlier version left: the binding, and no record of it.
    let records: Api<ConfigMap> = Api::namespaced(bench.client.clone(), "kube-system");
    records.delete("bloomery-applied", &DeleteParams::default()).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = bench.all();
    bench.apply();
    bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    bench.apply();
    assert!(bindings.get_opt(BINDING).await.unwrap().is_none(), "apply made it anew");
}
