//! Tables for the plan of a Server.

use super::*;
use bloomery_api::condition::{self, ConditionStatus};
use bloomery_api::decision::status::READY;
use bloomery_api::{ServerBindingSpec, ServerSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

fn now() -> Time {
    serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()
}

fn server(accepted: bool, status: Option<ServerStatus>) -> Server {
    let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
    server.metadata.resource_version = Some("1".to_owned());
    server.status = status;
    server
}

fn bound() -> ServerBinding {
    ServerBinding::new("a", ServerBindingSpec::default())
}

#[test]
fn a_new_server_gets_its_finalizer_and_a_first_status() {
    let plan = plan(&server(false, None), None, &now());
    assert_eq!(
        plan.metadata.unwrap(),
        json!({ "metadata": { "finalizers": [FINALIZER], "resourceVersion": "1" } })
    );
    let status = plan.status.unwrap();
    assert_eq!((status.ready, status.in_use, status.is_clean), (false, false, false));
    assert_eq!(status.power, "unknown");
    let ready = condition::find(&status.conditions, READY).unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "NotAccepted"));
    assert!(plan.notices.is_empty());
}

#[test]
fn a_second_plan_changes_nothing() {
    for accepted in [false, true] {
        for binding in [None, Some(bound())] {
            let first = plan(&server(accepted, None), binding.as_ref(), &now());
            let mut settled = server(accepted, first.status);
            settled.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
            let second = plan(&settled, binding.as_ref(), &now());
            assert_eq!((second.metadata, second.status, second.notices), (None, None, Vec::new()));
        }
    }
}

#[test]
fn a_release_is_announced_once() {
    let in_use = ServerStatus { in_use: true, ready: true, ..ServerStatus::default() };
    let released = plan(&server(true, Some(in_use)), None, &now());
    assert_eq!(released.notices.len(), 1);
    assert_eq!(released.notices[0].message, "Server marked as unallocated.");
    let status = released.status.unwrap();
    assert!(!status.in_use && !status.is_clean && !status.ready);
    assert!(plan(&server(true, Some(status)), None, &now()).notices.is_empty());
}

#[test]
fn an_allocated_server_loses_its_owners_but_not_its_finalizer() {
    let mut owned = server(true, None);
    owned.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    owned.metadata.owner_references = Some(vec![OwnerReference::default()]);
    owned.metadata.deletion_timestamp = Some(now());
    let plan = plan(&owned, Some(&bound()), &now());
    assert_eq!(
        plan.metadata.unwrap(),
        json!({ "metadata": { "ownerReferences": [], "resourceVersion": "1" } })
    );
    assert!(!plan.vanishes);
}

#[test]
fn a_deleted_free_server_is_let_go_and_foreign_finalizers_stay() {
    let mut deleted = server(true, None);
    deleted.metadata.deletion_timestamp = Some(now());
    deleted.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let alone = plan(&deleted, None, &now());
    assert!(alone.vanishes);
    deleted.metadata.finalizers = Some(vec!["other".to_owned(), FINALIZER.to_owned()]);
    let shared = plan(&deleted, None, &now());
    assert!(!shared.vanishes);
    assert_eq!(shared.metadata.unwrap()["metadata"]["finalizers"], json!(["other"]));
}
