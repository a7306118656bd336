//! What may happen between the look before a binding and the look after it.

use serde_json::json;

use super::*;
use crate::decision::fixtures::{HOLDS, powerless, record, server, with};
use crate::evidence::DiskState;

fn binding(uid: &str) -> ServerBinding {
    serde_json::from_value(
        json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": "a", "uid": uid },
        "spec": { "metalMachineRef": { "namespace": "ns", "name": "m" } } }),
    )
    .unwrap()
}

fn numbered(state: DiskState, seq: u64, id: &str, owner: Option<&str>, claimant: Option<&str>) -> Server {
    let mut record = record(state);
    record.seq = seq;
    record.id = id.to_owned();
    record.binding = owner.map(str::to_owned);
    record.claimant = claimant.map(str::to_owned);
    let is_clean = state == DiskState::Clean;
    with(server(true, state.is_claim(), is_clean), &record)
}

/// What happened, the Server after it, and what follows.
type Case = (&'static str, Option<Server>, Result<(), &'static str>);

#[test]
fn only_what_nobody_had_in_between_is_kept() {
    let before = numbered(DiskState::Clean, 4, "r4", None, None);
    let claimed = |seq, owner| numbered(DiskState::Bound, seq, "r5", Some(owner), Some("ns/m"));
    let mut dirty = before.clone();
    dirty.status.as_mut().unwrap().is_clean = false;
    let mut unaccepted = before.clone();
    unaccepted.spec.accepted = false;
    let mut other = before.clone();
    other.metadata.uid = Some("other".to_owned());
    let mut moved = before.clone();
    moved
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("clusterctl.cluster.x-k8s.io/delete-for-move".to_owned(), String::new());
    let mut bare = before.clone();
    bare.metadata.annotations = None;
    let cases: Vec<Case> = vec![
        ("as before", Some(before.clone()), Ok(())),
        ("our claim is the next record", Some(claimed(5, "mine")), Ok(())),
        (
            "our claim is the one after the next",
            Some(claimed(6, "mine")),
            Err("another had the Server in between"),
        ),
        ("a claim of another binding", Some(claimed(5, "theirs")), Err("another had the Server in between")),
        (
            "it was released meanwhile",
            Some(numbered(DiskState::Released, 6, "r6", None, None)),
            Err("another had the Server in between"),
        ),
        (
            "it was wiped again meanwhile",
            Some(numbered(DiskState::Clean, 7, "r7", None, None)),
            Err("another had the Server in between"),
        ),
        ("not clean any more", Some(dirty), Err("the Server is not clean any more")),
        ("not accepted any more", Some(unaccepted), Err("the Server is not accepted any more")),
        ("another object", Some(other), Err("the Server was made anew")),
        ("being moved", Some(moved), Err("the Server is being moved to another plane")),
        ("no record", Some(bare), Err("the Server has no record of its disks")),
        ("gone", None, Err("the Server is gone")),
    ];
    for (what, after, expected) in cases {
        assert_eq!(verify(&before, after.as_ref(), &binding("mine"), &HOLDS), expected, "{what}");
    }
    for authority in powerless() {
        assert!(verify(&before, Some(&before), &binding("mine"), &authority).is_err(), "{authority:?}");
    }
}

#[test]
fn a_lost_machine_is_free_for_its_own_claimant_alone() {
    let lost = numbered(DiskState::Installed, 9, "r9", Some("old"), Some("ns/m"));
    assert!(is_free_for(&lost, Standing::Lost, "ns/m"));
    assert!(!is_free_for(&lost, Standing::Lost, "ns/other"));
    assert!(!is_free_for(&lost, Standing::Unconfirmed, "ns/m"), "another plane's, or restored");
    assert_eq!(verify(&lost, Some(&lost), &binding("new"), &HOLDS), Ok(()));
    for standing in Standing::ALL {
        let expected = standing == Standing::Clean;
        assert_eq!(is_free_for(&server(true, false, true), standing, "ns/m"), expected, "{standing:?}");
    }
}
