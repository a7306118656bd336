//! Tables for the plan of a Server.

use super::*;
use bloomery_api::contents::ContentsClass;
use bloomery_api::evidence::{DiskRecord, DiskState, Entry, FORGET_ANNOTATION};
use bloomery_api::plane::Authority;
use bloomery_api::server_binding::RELEASE_FINALIZER;
use bloomery_api::trust::{SigningKey, Trust};
use bloomery_api::{ServerBinding, ServerBindingSpec, ServerSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

fn holds() -> Authority {
    Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new([7; 32]), "own") }
}

fn now() -> Time {
    serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()
}

fn server(accepted: bool) -> Server {
    let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
    server.metadata.uid = Some("u".to_owned());
    server.metadata.resource_version = Some("1".to_owned());
    server
}

fn settled(accepted: bool) -> Server {
    let mut server = server(accepted);
    server.metadata.labels = Some([(PLANE_LABEL.to_owned(), "own".to_owned())].into());
    server.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    server
}

fn recorded(state: DiskState) -> Server {
    let mut server = settled(true);
    let binding = bound(false);
    let entry = match state {
        DiskState::NeverUsed => Entry::NeverUsed(ContentsClass::Blank),
        DiskState::Bound => Entry::Bound(&binding),
        DiskState::Installed => Entry::Installed(&binding),
        DiskState::Released => Entry::Released,
        DiskState::Clean => Entry::Clean,
    };
    let record = DiskRecord::new(&server, entry, &holds(), "r", &now()).unwrap();
    server.metadata.annotations = Some([(DISKS_ANNOTATION.to_owned(), record.to_annotation())].into());
    server
}

fn bound(deleting: bool) -> ServerBinding {
    let mut binding = ServerBinding::new("a", ServerBindingSpec::default());
    binding.metadata.uid = Some("b".to_owned());
    binding.metadata.finalizers = Some(vec![RELEASE_FINALIZER.to_owned()]);
    binding.metadata.deletion_timestamp = deleting.then(now);
    binding
}

fn planned(server: &Server, binding: Option<&ServerBinding>) -> Plan {
    plan(&Machine { server, binding, authority: &holds(), conflict: None }, &now(), "new")
}

#[test]
fn a_new_server_gets_its_finalizer_and_its_planes_label_and_no_record() {
    let plan = planned(&server(false), None);
    assert_eq!(
        plan.metadata.unwrap(),
        json!({ "metadata": { "finalizers": [FINALIZER], "labels": { PLANE_LABEL: "own" }, "resourceVersion": "1" } })
    );
}

#[test]
fn nothing_changes_about_a_settled_server() {
    for server in [settled(false), settled(true), recorded(DiskState::NeverUsed), recorded(DiskState::Clean)]
    {
        let plan = planned(&server, None);
        assert_eq!((plan.metadata, plan.vanishes), (None, false));
    }
    let plan = planned(&recorded(DiskState::Bound), Some(&bound(false)));
    assert_eq!((plan.metadata, plan.binding_finalizer), (None, BindingFinalizer::Keep));
}

#[test]
fn a_claim_is_recorded_at_once_bound_to_what_was_read() {
    let plan = planned(&recorded(DiskState::Clean), Some(&bound(false)));
    let patch = plan.metadata.unwrap();
    assert_eq!(patch["metadata"]["resourceVersion"], "1");
    let record: DiskRecord =
        serde_json::from_str(patch["metadata"]["annotations"][DISKS_ANNOTATION].as_str().unwrap()).unwrap();
    assert_eq!(
        (record.state, record.binding.as_deref(), record.id.as_str()),
        (DiskState::Bound, Some("b"), "new")
    );
}

#[test]
fn a_release_is_recorded_before_the_binding_may_go() {
    let first = planned(&recorded(DiskState::Bound), Some(&bound(true)));
    assert!(first.metadata.is_some());
    assert_eq!(first.binding_finalizer, BindingFinalizer::Keep);
    let second = planned(&recorded(DiskState::Released), Some(&bound(true)));
    assert_eq!((second.metadata, second.binding_finalizer), (None, BindingFinalizer::Remove));
}

#[test]
fn a_confirmation_is_used_up() {
    let mut confirmed = settled(true);
    confirmed.metadata.annotations = Some([(CONFIRM_WIPE_ANNOTATION.to_owned(), "u".to_owned())].into());
    let patch = planned(&confirmed, None).metadata.unwrap();
    let annotations = &patch["metadata"]["annotations"];
    assert!(annotations[CONFIRM_WIPE_ANNOTATION].is_null());
    assert!(annotations[DISKS_ANNOTATION].as_str().unwrap().contains("released"));
}

#[test]
fn an_allocated_server_loses_its_owners_but_not_its_finalizer() {
    let mut owned = recorded(DiskState::Bound);
    owned.metadata.owner_references = Some(vec![OwnerReference::default()]);
    owned.metadata.deletion_timestamp = Some(now());
    let plan = planned(&owned, Some(&bound(false)));
    assert_eq!(
        plan.metadata.unwrap(),
        json!({ "metadata": { "ownerReferences": [], "resourceVersion": "1" } })
    );
    assert!(!plan.vanishes);
}

#[test]
fn a_deleted_free_server_is_let_go_and_foreign_finalizers_stay() {
    let mut deleted = recorded(DiskState::Clean);
    deleted.spec.accepted = false;
    deleted.metadata.deletion_timestamp = Some(now());
    assert!(planned(&deleted, None).vanishes);
    deleted.metadata.finalizers = Some(vec!["other".to_owned(), FINALIZER.to_owned()]);
    let shared = planned(&deleted, None);
    assert!(!shared.vanishes);
    assert_eq!(shared.metadata.unwrap()["metadata"]["finalizers"], json!(["other"]));
}

#[test]
fn what_may_be_in_use_is_not_let_go_before_a_person_says_so() {
    // Nothing on record says that its disks may be wiped: it stands as `NotConfirmed`.
    let mut deleted = settled(true);
    deleted.metadata.deletion_timestamp = Some(now());
    let kept = planned(&deleted, None);
    assert_eq!((kept.metadata, kept.vanishes), (None, false));
    for (uid, goes) in [("u", true), ("of another object", false), ("", false)] {
        let mut told = deleted.clone();
        told.metadata.annotations = Some([(FORGET_ANNOTATION.to_owned(), uid.to_owned())].into());
        assert_eq!(planned(&told, None).vanishes, goes, "{uid}");
        let mut lost = recorded(DiskState::Bound);
        lost.metadata.deletion_timestamp = Some(now());
        lost.metadata.annotations.as_mut().unwrap().insert(FORGET_ANNOTATION.to_owned(), uid.to_owned());
        assert_eq!(planned(&lost, None).vanishes, goes, "{uid}");
        assert!(!planned(&lost, Some(&bound(false))).vanishes, "a binding claims it now");
    }
}

#[test]
fn record_names_differ() {
    assert_ne!(new_record_id(), new_record_id());
    assert_eq!(new_record_id().len(), 16);
}
