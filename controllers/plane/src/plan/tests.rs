//! What a plane makes of its file and the objects it finds, and every instant at which the power may go.

mod crashes;

use bloomery_api::plane::{ADOPTS_ANNOTATION, FENCED_ANNOTATION, LEAP, NAME, PlaneSpec, WITNESS_ANNOTATION};

use super::*;

pub(super) fn plane(holder: &str, epoch: i64, witness: &str) -> Plane {
    let mut plane = Plane::new(NAME, PlaneSpec { holder: holder.to_owned(), epoch });
    if !witness.is_empty() {
        plane.metadata.annotations = Some([(WITNESS_ANNOTATION.to_owned(), witness.to_owned())].into());
    }
    plane
}

fn record(id: &str, epoch: i64, revision: u64, witness: Witness) -> Record {
    Record { id: id.to_owned(), epoch, revision, fenced: None, witness }
}

pub(super) fn fresh(witness: &str) -> Fresh {
    Fresh { id: "new".to_owned(), witness: witness.to_owned() }
}

fn held(digits: &str) -> Witness {
    Witness::of_held(digits)
}

fn decide(file: Option<&Record>, plane: Option<&Plane>, revision: u64) -> Plan {
    plan(file, Seen::default(), plane, revision, &fresh("w9"))
}

fn keep(record: Record, holds: bool) -> Plan {
    Plan::Keep { record, holds }
}

#[test]
fn only_a_plane_with_its_own_objects_holds_them() {
    let own = record("own", 3, 100, held("w1"));
    let own_at = |epoch, revision| record("own", epoch, revision, held("w1"));
    let table = [
        ("first boot", None, None, 5, Plan::Create(record("new", 1, 5, Witness::of_new("w9")), None)),
        (
            "objects of another",
            None,
            Some(plane("other", 7, "w1")),
            5,
            keep(record("new", 0, 5, Witness::default()), false),
        ),
        (
            "etcd was lost",
            Some(&own),
            None,
            5,
            Plan::Create(record("own", 4, 5, held("w1").begun("w9")), Some(LOST)),
        ),
        ("every day", Some(&own), Some(plane("own", 3, "w1")), 101, keep(own_at(3, 101), true)),
        (
            "raised by a takeover",
            Some(&own),
            Some(plane("own", 9, "w7")),
            101,
            keep(record("own", 9, 101, held("w7")), true),
        ),
        ("taken over", Some(&own), Some(plane("other", 4, "w8")), 101, keep(own_at(3, 101), false)),
        ("a copy went on elsewhere", Some(&own), Some(plane("other", 1, "w8")), 1, keep(own_at(3, 1), false)),
    ];
    for (case, file, plane, revision, expected) in table {
        assert_eq!(decide(file, plane.as_ref(), revision), expected, "{case}");
    }
}

#[test]
fn a_state_that_was_restored_is_noticed_whatever_it_looks_like() {
    let own = record("own", 3, 100, held("w1"));
    for (case, found, revision, why) in [
        ("from a snapshot", plane("own", 3, "w0"), 99, OLDER),
        ("from a snapshot of the same minutes", plane("own", 3, "w1"), 99, OLDER),
        ("from before an epoch", plane("own", 2, "w1"), 500, OLDER),
        ("with its revision put up by etcdutl's default", plane("own", 3, "w1"), 1_000_000_090, LEAPT),
        ("the least leap", plane("own", 3, "w1"), 100 + LEAP, LEAPT),
        ("with its revision put up by little", plane("own", 3, "w0"), 5_000, FOREIGN),
        ("from before there were digits", plane("own", 3, ""), 5_000, FOREIGN),
    ] {
        let raised = Plan::Raise(record("own", 4, revision, held("w9")), why);
        assert_eq!(decide(Some(&own), Some(&found), revision), raised, "{case}");
    }
    // A running process has seen more than the file.
    let seen = Seen { epoch: 3, revision: 200 };
    let found = plan(Some(&own), seen, Some(&plane("own", 3, "w1")), 150, &fresh("w9"));
    assert_eq!(found, Plan::Raise(record("own", 4, 150, held("w9")), OLDER));
    // It took over by itself: the digits of the other plane are no sign of a restore.
    let seen = Seen { epoch: 9, revision: 200 };
    let found = plan(Some(&own), seen, Some(&plane("own", 9, "w7")), 201, &fresh("w9"));
    assert_eq!(found, keep(record("own", 9, 201, held("w7")), true));
}

#[test]
fn a_plane_of_an_older_release_begins_to_keep_digits_without_an_alarm() {
    let old = record("own", 3, 100, Witness::default());
    let found = decide(Some(&old), Some(&plane("own", 3, "")), 101);
    assert_eq!(found, keep(record("own", 3, 101, Witness::default()), true));
    let lost = decide(Some(&old), None, 5);
    let Plan::Create(record, Some(mark)) = &lost else { panic!("{lost:?}") };
    assert_eq!((*mark, record.witness.was_never_made()), (LOST, false));
}

#[test]
fn only_a_holder_writes_digits() {
    let own = record("own", 3, 100, held("w1"));
    let fenced = decide(Some(&own), Some(&plane("other", 4, "w8")), 101);
    assert_eq!(steps(&fenced, Some("w9")).len(), 1);
    let holds = decide(Some(&own), Some(&plane("own", 3, "w1")), 101);
    assert_eq!(steps(&holds, None).len(), 1);
    assert_eq!(
        steps(&holds, Some("w9")),
        [
            Step::Store(record("own", 3, 101, held("w1").begun("w9"))),
            Step::Witness("w9".to_owned()),
            Step::Store(record("own", 3, 101, held("w9"))),
        ]
    );
}

#[test]
fn a_plane_that_stopped_itself_stays_stopped_through_a_restore_until_a_person_looked() {
    let stopped = Record { fenced: Some("moved".to_owned()), ..record("own", 3, 100, held("w1")) };
    let with_mark = |mut plane: Plane| {
        let annotations = plane.metadata.annotations.get_or_insert_default();
        annotations.insert(FENCED_ANNOTATION.to_owned(), "moved".to_owned());
        plane
    };
    let fenced_of = |plan: &Plan| plan.record().fenced.clone();
    // Restored to before: the object has no mark.
    let raised = decide(Some(&stopped), Some(&plane("own", 3, "w0")), 99);
    assert!(matches!(raised, Plan::Raise(..)));
    assert_eq!(fenced_of(&raised).as_deref(), Some("moved"));
    let Some(Step::Raise { fenced, .. }) = steps(&raised, None).into_iter().next() else {
        panic!("{raised:?}")
    };
    assert_eq!(fenced.as_deref(), Some("moved"));
    let lost = decide(Some(&stopped), None, 5);
    assert!(matches!(lost, Plan::Create(..)) && fenced_of(&lost).is_some());
    // The mark came while the file was not written.
    let kept = decide(Some(&record("own", 3, 100, held("w1"))), Some(&with_mark(plane("own", 3, "w1"))), 101);
    assert_eq!(fenced_of(&kept).as_deref(), Some("moved"));
    // A person removed it from the object that went on.
    let kept = decide(Some(&stopped), Some(&plane("own", 3, "w1")), 101);
    assert!(matches!(kept, Plan::Keep { holds: true, .. }));
    assert_eq!(fenced_of(&kept), None);
    // Another plane holds the object: what this one knew of itself stays.
    assert!(fenced_of(&decide(Some(&stopped), Some(&plane("other", 4, "w8")), 101)).is_some());
}

#[test]
fn only_a_takeover_makes_this_plane_wait() {
    let own = record("own", 3, 100, held("w1"));
    for (found, waits) in [
        (Some(plane("own", 3, "w1")), false),
        (Some(plane("own", 4, "w8")), true),
        (Some(plane("other", 4, "w8")), false),
        (Some(plane("own", 2, "w1")), false),
        (None, false),
    ] {
        let plan = decide(Some(&own), found.as_ref(), 101);
        assert_eq!(is_taken_over(Some(&own), &plan), waits, "{plan:?}");
    }
    // Longer than an answer of the other plane may be on its way and serve.
    let other_acts_for = crate::gate::MEMO + crate::gate::ANSWER_WITHIN;
    assert!(crate::gate::QUIET > other_acts_for);
}

#[test]
fn a_takeover_adopts_the_servers_of_the_former_holder() {
    let mut found = plane("other", 4, "");
    let annotations = found.metadata.annotations.get_or_insert_default();
    annotations.insert(ADOPTS_ANNOTATION.to_owned(), "older, own".to_owned());
    assert_eq!(adopted(&found, "own"), "older,other");
}

#[test]
fn a_takeover_needs_this_planes_own_name() {
    let own = record("own", 3, 0, Witness::default());
    let asked = |holder: &str, epoch, name: &str| {
        let mut plane = plane(holder, epoch, "");
        let annotations = [(crate::TAKEOVER_ANNOTATION.to_owned(), name.to_owned())];
        plane.metadata.annotations = Some(annotations.into());
        plane
    };
    assert_eq!(takeover(&own, &asked("other", 7, "own")), Some(8));
    assert_eq!(takeover(&own, &asked("other", 1, "own")), Some(4));
    assert_eq!(takeover(&own, &asked("other", 7, "third")), None);
    assert_eq!(takeover(&own, &asked("own", 7, "own")), None);
    assert_eq!(takeover(&own, &plane("other", 7, "")), None);
}
