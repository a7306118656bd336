//! The table of what keeps a Server, and the days around the limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::super::fixtures::{
    HOLDS, annotate, binding, confirmed, holds, machine, powerless, record, server, signed, with, with_state,
};
use super::super::identity::{Conflict, DISTINCT_FROM_ANNOTATION, Peer, SharedMark};
use super::*;
use crate::evidence::{
    CONFIRM_WIPE_ANNOTATION, DiskState, FORGET_ANNOTATION, UNKNOWN_AFTER_RESTORE_ANNOTATION,
};
use crate::exempt::EXEMPT_DISKS_ANNOTATION;
use crate::ledger::{Fate, Tombstone, Tombstones};
use crate::plane::Authority;
use crate::plane::fence::DELETE_FOR_MOVE_ANNOTATION;
use crate::server::{Bmc, ManagementApi};
use crate::server_binding::ServerBinding;

const CREATED: &str = "2026-01-01T23:59:59Z";
/// Long after anything here.
const LATE: &str = "2027-01-01T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// As the boot services register it, and the controllers complete it.
fn silent() -> Server {
    let mut silent = with_state(server(false, false, false), DiskState::NeverUsed);
    silent.metadata.creation_timestamp = Some(Time(time(CREATED)));
    silent.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    silent.metadata.labels = Some(BTreeMap::from([
        (PLANE_LABEL.to_owned(), "own".to_owned()),
        (ARCH_LABEL.to_owned(), "arm64".to_owned()),
    ]));
    "host-1".clone_into(&mut silent.spec.hostname);
    silent
}

fn ask(server: &Server) -> Result<Date, Kept> {
    abandoned(&machine(server, None, &HOLDS), None, time(LATE))
}

fn changed(change: impl FnOnce(&mut Server)) -> Server {
    let mut server = silent();
    change(&mut server);
    server
}

fn label(server: &mut Server, key: &str, value: &str) {
    server.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

#[test]
fn a_machine_that_never_called_again_is_given_up() {
    let created: Date = "2026-01-01".parse().unwrap();
    assert_eq!(ask(&silent()), Ok(created));
    // Registered beside a machine that may be the same: it has no record, and is held.
    let peer = Peer {
        server: "b".to_owned(),
        mark: SharedMark::Card("52:54:00:77:00:01".to_owned()),
        claimed: true,
        is_tombstone: false,
    };
    let conflict = Conflict { peers: vec![peer], rivals: Vec::new() };
    let held = changed(|server| {
        server.metadata.annotations = None;
        annotate(server, RIVAL_ANNOTATION, "[]");
    });
    let asked = Machine { conflict: Some(&conflict), ..machine(&held, None, &HOLDS) };
    assert_eq!(asked.standing(), Standing::Conflicted);
    assert_eq!(abandoned(&asked, None, time(LATE)), Ok(created));
}

/// What is changed about a Server that may go, and why it stays then.
type Case = (&'static str, fn(&mut Server), Kept);

fn check(cases: &[Case]) {
    for (what, change, expected) in cases {
        assert_eq!(ask(&changed(change)), Err(*expected), "{what}");
    }
}

fn put(server: &mut Server, state: DiskState) {
    *server = with(server.clone(), &record(state));
}

#[test]
fn whatever_may_stand_for_a_machine_in_use_stays() {
    check(&[
        ("accepted", |it| it.spec.accepted = true, Kept::Accepted),
        ("in use by its status", |it| it.status.as_mut().unwrap().in_use = true, Kept::Claimed),
        ("bound on record", |it| put(it, DiskState::Bound), Kept::Claimed),
        ("installed on record", |it| put(it, DiskState::Installed), Kept::Claimed),
        ("released on record", |it| put(it, DiskState::Released), Kept::Record),
        ("clean on record", |it| put(it, DiskState::Clean), Kept::Record),
        ("unreadable record", |it| annotate(it, DISKS_ANNOTATION, "x"), Kept::Claimed),
        ("going", |it| it.metadata.deletion_timestamp = Some(Time(time(CREATED))), Kept::Leaving),
        ("being moved", |it| annotate(it, DELETE_FOR_MOVE_ANNOTATION, ""), Kept::Leaving),
        ("another plane's", |it| label(it, PLANE_LABEL, "other"), Kept::OtherPlane),
        ("of no day", |it| annotate(it, LAST_CALL_ANNOTATION, "x"), Kept::Undated),
        ("not created", |it| it.metadata.creation_timestamp = None, Kept::Undated),
    ]);
}

#[test]
fn whatever_a_person_or_another_program_wrote_on_stays() {
    check(&[
        ("kept by a person", |it| annotate(it, KEEP_ANNOTATION, ""), Kept::Touched),
        (
            "unknown to a restored state",
            |it| annotate(it, UNKNOWN_AFTER_RESTORE_ANNOTATION, "x"),
            Kept::Touched,
        ),
        ("wipe confirmed", |it| annotate(it, CONFIRM_WIPE_ANNOTATION, "x"), Kept::Touched),
        ("forgotten", |it| annotate(it, FORGET_ANNOTATION, "x"), Kept::Touched),
        ("exempt disks", |it| annotate(it, EXEMPT_DISKS_ANNOTATION, "[]"), Kept::Touched),
        ("split", |it| annotate(it, DISTINCT_FROM_ANNOTATION, "b"), Kept::Touched),
        ("somebody's note", |it| annotate(it, "example.com/rack", "7"), Kept::Touched),
        ("somebody's label", |it| label(it, "rack", "7"), Kept::Touched),
        (
            "somebody's finalizer",
            |it| it.metadata.finalizers.as_mut().unwrap().push("example.com/hold".to_owned()),
            Kept::Touched,
        ),
        ("owned", |it| it.metadata.owner_references = Some(vec![OwnerReference::default()]), Kept::Touched),
        ("cordoned", |it| it.spec.cordoned = true, Kept::Touched),
        ("with a controller", |it| it.spec.bmc = Some(Bmc::default()), Kept::Touched),
        ("with a power API", |it| it.spec.management_api = Some(ManagementApi::default()), Kept::Touched),
        ("with a patch", |it| it.spec.strategic_patches.push("a: b".to_owned()), Kept::Touched),
        ("made by hand", |it| it.spec.hardware = None, Kept::Touched),
    ]);
}

#[test]
fn a_binding_a_restore_a_ledger_or_a_plane_that_does_not_act_keep_all() {
    let silent = silent();
    let late = time(LATE);
    let bound: ServerBinding = binding(false);
    assert_eq!(abandoned(&machine(&silent, Some(&bound), &HOLDS), None, late), Err(Kept::Claimed));
    assert_eq!(abandoned(&machine(&silent, None, &HOLDS), Some(""), late), Err(Kept::Restored));
    for authority in powerless() {
        let asked = abandoned(&machine(&silent, None, &authority), None, late);
        assert_eq!(asked, Err(Kept::NoAuthority), "{authority:?}");
    }
    let with_ledger = |ledger: Option<Tombstones>| {
        let Authority::Holds { epoch, trust } = holds() else { panic!("it holds") };
        let trust = crate::trust::Trust { ledger: ledger.map(Arc::new), ..trust };
        Authority::Holds { epoch, trust }
    };
    let tombstone = |fate| Tombstone {
        server: "a".to_owned(),
        uid: "another".to_owned(),
        marks: super::super::identity::Marks::default(),
        fate,
        installed: false,
        seq: 0,
        record: String::new(),
        epoch: 1,
        revision: 1,
        time: Time(time(CREATED)),
    };
    for fate in [Fate::Claimed, Fate::Free, Fate::Forgotten, Fate::Vanished] {
        let mut ledger = Tombstones::default();
        ledger.note(tombstone(fate));
        let authority = with_ledger(Some(ledger));
        let asked = abandoned(&machine(&silent, None, &authority), None, late);
        assert!(matches!(asked, Err(Kept::Ledger | Kept::Claimed)), "{fate:?}: {asked:?}");
    }
    // Without a record the ledger alone speaks for it.
    let mut unrecorded = silent.clone();
    unrecorded.metadata.annotations = None;
    let mut ledger = Tombstones::default();
    ledger.note(tombstone(Fate::Free));
    for ledger in [None, Some(ledger)] {
        let authority = with_ledger(ledger);
        assert_eq!(abandoned(&machine(&unrecorded, None, &authority), None, late), Err(Kept::Ledger));
    }
    // Another's key: the record is no evidence.
    let mut forged = silent;
    let mut other = signed(record(DiskState::NeverUsed));
    "00".clone_into(&mut other.mac);
    annotate(&mut forged, DISKS_ANNOTATION, &other.to_annotation());
    assert_eq!(ask(&forged), Err(Kept::Claimed));
}

#[test]
fn whole_days_count_from_the_later_one_of_creation_and_last_call() {
    for (noted, now, expected) in [
        (None, "2026-01-02T00:00:00Z", None),
        (None, "2026-01-15T23:59:59Z", None),
        (None, "2026-01-16T00:00:00Z", Some("2026-01-01")),
        (Some("2026-01-05"), "2026-01-19T23:59:59Z", None),
        (Some("2026-01-05"), "2026-01-20T00:00:00Z", Some("2026-01-05")),
        // The annotation of a copy's original.
        (Some("2025-01-05"), "2026-01-15T23:59:59Z", None),
        (Some("2025-01-05"), "2026-01-16T00:00:00Z", Some("2026-01-01")),
        // A clock that is behind, or was ahead.
        (None, "1970-01-01T00:00:00Z", None),
        (Some("2026-03-01"), "2026-02-01T00:00:00Z", None),
        (Some("9999-12-31"), LATE, None),
    ] {
        let server = changed(|server| {
            if let Some(noted) = noted {
                annotate(server, LAST_CALL_ANNOTATION, noted);
            }
        });
        let asked = abandoned(&machine(&server, None, &HOLDS), None, time(now));
        assert_eq!(asked.ok().map(|day| day.to_string()).as_deref(), expected, "{noted:?} {now}");
    }
}

#[test]
fn a_call_is_noted_once_a_day_and_only_while_nobody_accepted_the_machine() {
    let noted = |day: &str| changed(|server| annotate(server, LAST_CALL_ANNOTATION, day));
    for (server, now, expected) in [
        (silent(), "2026-01-01T23:59:59Z", None),
        (silent(), "2026-01-02T00:00:00Z", Some("2026-01-02")),
        (noted("2026-01-02"), "2026-01-02T12:00:00Z", None),
        (noted("2026-01-02"), "2026-01-03T12:00:00Z", Some("2026-01-03")),
        // What is no day, and a day that is yet to come, are put right.
        (noted("yesterday"), "2026-01-03T12:00:00Z", Some("2026-01-03")),
        (noted("2030-01-01"), "2026-01-03T12:00:00Z", Some("2026-01-03")),
        (changed(|server| server.spec.accepted = true), LATE, None),
        (changed(|server| server.metadata.deletion_timestamp = Some(Time(time(CREATED)))), LATE, None),
    ] {
        assert_eq!(call_to_note(&server, time(now)).as_deref(), expected, "{now}");
    }
    // What was noted counts as noted, and keeps the Server.
    let called = noted(&call_to_note(&silent(), time(LATE)).unwrap());
    assert_eq!(call_to_note(&called, time(LATE)), None);
    assert_eq!(ask(&called), Err(Kept::Recent));
    let confirmed = confirmed(silent());
    assert!(call_to_note(&confirmed, time(LATE)).is_some());
}
