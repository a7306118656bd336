//! The status that follows, row by row of the controller's table.

use proptest::prelude::*;
use serde_json::json;

use super::super::fixtures::{
    HOLDS, annotate, any_authority, any_binding, any_server, at, binding, machine, record, server, with,
    with_state,
};
use super::*;
use crate::evidence::DiskRecord;
use crate::evidence::DiskState::{Bound, Clean, Installed, NeverUsed, Released};
use crate::server_binding::ServerBinding;

const ON: PowerOutcome = PowerOutcome::Known(Power::On);

fn decide(server: &Server, binding: Option<&ServerBinding>) -> StatusDecision {
    status(&machine(server, binding, &HOLDS), None, &ON, &at(1))
}

fn ready(decision: &StatusDecision) -> &Condition {
    condition::find(&decision.status.conditions, READY).unwrap()
}

#[test]
fn status_follows_acceptance_binding_record_and_cleanliness() {
    // accepted, was in use, was clean; bound; record -> standing; ready, in use, clean; reason of the condition
    let cases = [
        (
            (false, false, false),
            false,
            Some(NeverUsed),
            Standing::Discovered,
            (false, false, false),
            "NotAccepted",
        ),
        (
            (false, false, true),
            false,
            Some(Clean),
            Standing::Discovered,
            (false, false, false),
            "NotAccepted",
        ),
        ((true, false, true), false, Some(Clean), Standing::Clean, (true, false, true), "Available"),
        ((true, false, false), false, Some(NeverUsed), Standing::Dirty, (false, false, false), "NotClean"),
        ((true, true, false), false, Some(Released), Standing::Dirty, (false, false, false), "NotClean"),
        ((true, true, false), false, Some(Bound), Standing::Lost, (false, true, false), "BindingLost"),
        ((true, true, false), false, None, Standing::Lost, (false, true, false), "BindingLost"),
        ((true, false, true), false, None, Standing::Unconfirmed, (false, false, false), "NotConfirmed"),
        ((true, false, true), true, Some(Clean), Standing::Bound, (true, true, false), "Bound"),
        ((true, true, false), true, Some(Bound), Standing::Bound, (true, true, false), "Bound"),
        (
            (false, true, false),
            true,
            Some(Bound),
            Standing::Bound,
            (false, true, false),
            "BoundButNotAccepted",
        ),
    ];
    for (flags, bound, state, standing, after, reason) in cases {
        let (accepted, in_use, clean) = flags;
        let plain = server(accepted, in_use, clean);
        let seen = state.map_or(plain.clone(), |state| with_state(plain, state));
        let binding = bound.then(|| binding(false));
        let decision = decide(&seen, binding.as_ref());
        let case = format!("{flags:?} {bound} {state:?}");
        assert_eq!(decision.standing, standing, "{case}");
        let status = &decision.status;
        assert_eq!((status.ready, status.in_use, status.is_clean), after, "{case}");
        assert_eq!(ready(&decision).reason, reason, "{case}");
        assert_eq!(ready(&decision).status == ConditionStatus::True, status.ready, "{case}");
        assert_eq!(decision.released, in_use && !bound && state == Some(Released), "{case}");
    }
}

#[test]
fn a_machine_left_alone_says_how_to_confirm_its_wipe() {
    let old = DiskRecord { epoch: 1, ..record(Released) };
    for seen in [with_state(server(true, true, false), Bound), with(server(true, false, false), &old)] {
        let decision = decide(&seen, None);
        let condition = ready(&decision);
        assert_eq!(condition.severity, "Warning");
        let command = "kubectl annotate --overwrite server a bloomery.dev/confirm-wipe=server-uid/7";
        assert!(condition.message.ends_with(command), "{}", condition.message);
    }
}

#[test]
fn a_controller_that_does_not_obey_makes_a_machine_unusable_and_says_why() {
    let why = "Failed to power off: timed out.";
    let failed = PowerOutcome::Failed { power: Power::On, reason: POWER_COMMAND_FAILED, why: why.to_owned() };
    let mut seen = with_state(server(true, false, true), Clean);
    let decision = status(&machine(&seen, None, &HOLDS), None, &failed, &at(1));
    assert!(!decision.status.ready && decision.status.is_clean);
    assert_eq!(decision.status.power, "on");
    assert_eq!(ready(&decision).reason, "PowerCommandFailed");
    let reachable = condition::find(&decision.status.conditions, POWER_REACHABLE).unwrap();
    assert_eq!((reachable.severity.as_str(), reachable.message.as_str()), ("Warning", why));
    seen.status = Some(decision.status);
    let again = status(&machine(&seen, None, &HOLDS), None, &PowerOutcome::Known(Power::Off), &at(2));
    assert!(again.status.ready);
    assert_eq!(
        condition::find(&again.status.conditions, POWER_REACHABLE).unwrap().status,
        ConditionStatus::True
    );
    let fake = status(&machine(&seen, None, &HOLDS), None, &PowerOutcome::Fake, &at(3));
    assert!(condition::find(&fake.status.conditions, POWER_REACHABLE).is_none());
    assert_eq!(fake.status.power, "on");
}

#[test]
fn installation_is_taken_from_the_binding_and_forgotten_with_its_release() {
    let bound = decide(&with_state(server(true, true, false), Bound), Some(&binding(true)));
    assert_eq!(bound.standing, Standing::Installed);
    assert!(condition::find(&bound.status.conditions, PXE_BOOTED).is_some());
    let mut seen = with_state(server(true, true, false), Bound);
    seen.status = Some(bound.status);
    // A binding that lost its conditions, after a move, does not undo it; nor does one that vanished.
    assert_eq!(decide(&seen, Some(&binding(false))).standing, Standing::Installed);
    let lost = decide(&seen, None);
    assert!(condition::find(&lost.status.conditions, PXE_BOOTED).is_some() && !lost.released);
    let free = decide(&with_state(seen, Released), None);
    assert!(condition::find(&free.status.conditions, PXE_BOOTED).is_none());
    assert!(free.released);
}

#[test]
fn addresses_and_foreign_conditions_stay_and_a_binding_ends_the_news_of_a_wipe() {
    let mut seen = with_state(server(true, false, false), Released);
    let kept = seen.status.as_mut().unwrap();
    kept.conditions = vec![Condition::holds("PowerCycle", at(0)), Condition::holds(DISKS_WIPED, at(0))];
    kept.addresses =
        serde_json::from_value(json!([{ "type": "InternalIP", "address": "10.0.0.5" }])).unwrap();
    let free = decide(&seen, None).status;
    assert!(condition::find(&free.conditions, "PowerCycle").is_some());
    assert!(condition::find(&free.conditions, DISKS_WIPED).is_some());
    assert_eq!(free.addresses.len(), 1);
    let bound = decide(&seen, Some(&binding(false))).status;
    assert!(condition::find(&bound.conditions, DISKS_WIPED).is_none());
}

#[test]
fn a_deletion_waits_while_a_cluster_has_a_claim() {
    let deleted = |in_use, state| {
        let mut seen = with_state(server(true, in_use, state == Clean), state);
        seen.metadata.deletion_timestamp = Some(at(0));
        seen.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        seen
    };
    let bound = binding(true);
    for (seen, bound, change) in [
        (deleted(true, Bound), Some(&bound), FinalizerChange::Keep),
        // Its memory of the claim must not go with it: the machine would register as one never used.
        (deleted(true, Bound), None, FinalizerChange::Keep),
        (deleted(true, Released), None, FinalizerChange::Remove),
        (deleted(false, NeverUsed), None, FinalizerChange::Remove),
        (deleted(false, Clean), None, FinalizerChange::Remove),
    ] {
        assert_eq!(decide(&seen, bound).finalizer, change, "{seen:?}");
    }
}

#[test]
fn a_server_that_may_be_in_use_goes_only_by_a_persons_word() {
    let deleted = |record: Option<&DiskRecord>| {
        let plain = server(true, false, false);
        let mut seen = record.map_or(plain.clone(), |record| with(plain, record));
        seen.metadata.deletion_timestamp = Some(at(0));
        seen.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        seen
    };
    let old = DiskRecord { epoch: 1, ..record(NeverUsed) };
    let moved = DiskRecord { server_uid: "moved".to_owned(), ..record(Released) };
    for record in [None, Some(&old), Some(&moved), Some(&record(Bound)), Some(&record(Installed))] {
        let mut seen = deleted(record);
        let decision = decide(&seen, None);
        assert!(decision.standing.is_claimed());
        assert_eq!(decision.finalizer, FinalizerChange::Keep, "{record:?}");
        assert!(
            ready(&decision)
                .message
                .ends_with("kubectl annotate --overwrite server a bloomery.dev/forget=server-uid")
        );
        for (uid, change) in [
            ("", FinalizerChange::Keep),
            ("another-uid", FinalizerChange::Keep),
            ("server-uid", FinalizerChange::Remove),
        ] {
            annotate(&mut seen, FORGET_ANNOTATION, uid);
            assert_eq!(decide(&seen, None).finalizer, change, "{uid}");
            assert_eq!(decide(&seen, Some(&binding(true))).finalizer, FinalizerChange::Keep);
        }
    }
}

proptest! {
    #[test]
    fn bound_or_unaccepted_machines_are_never_clean_and_decisions_settle(
        server in any_server(), bound in proptest::option::of(any_binding()), authority in any_authority(),
    ) {
        let mut seen = server;
        let first = status(&machine(&seen, bound.as_ref(), &authority), None, &ON, &at(1));
        prop_assert!(!first.status.is_clean || (seen.spec.accepted && bound.is_none()));
        prop_assert!(bound.is_none() || first.status.in_use);
        prop_assert!(seen.spec.accepted || !first.status.ready);
        if first.released {
            let evidence = Evidence::of(&seen, &authority);
            prop_assert!(matches!(evidence, Evidence::Released(_)) && bound.is_none());
        }
        seen.status = Some(first.status.clone());
        let second = status(&machine(&seen, bound.as_ref(), &authority), None, &ON, &at(2));
        prop_assert_eq!(second.status, first.status);
        prop_assert_eq!(second.standing, first.standing);
        prop_assert!(!second.released);
    }

    #[test]
    fn of_two_writers_in_turn_the_second_has_nothing_to_write(
        seen in any_server(), bound in proptest::option::of(any_binding()), authority in any_authority(), has_controller in any::<bool>(),
        known in prop_oneof![
            Just(PowerOutcome::Known(Power::On)),
            Just(PowerOutcome::Failed { power: Power::Unknown, reason: POWER_COMMAND_FAILED, why: "silent".to_owned() }),
        ],
    ) {
        let mut seen = seen;
        seen.spec.bmc = has_controller.then(Default::default);
        seen.spec.management_api = None;
        let read = if has_controller { known } else { PowerOutcome::Fake };
        let unasked = PowerOutcome::unasked(&seen);
        for (first, second) in [(&read, &unasked), (&unasked, &read)] {
            if has_controller && *first == unasked {
                // The controllers read it first.
                continue;
            }
            let mut seen = seen.clone();
            let one = status(&machine(&seen, bound.as_ref(), &authority), None, first, &at(1));
            seen.status = Some(one.status.clone());
            let other = status(&machine(&seen, bound.as_ref(), &authority), None, second, &at(2));
            prop_assert_eq!(other.status, one.status);
        }
    }
}

#[test]
fn a_machine_whose_power_nobody_read_is_not_ready() {
    let mut clean = with_state(server(true, false, true), Clean);
    clean.spec.bmc = Some(crate::server::Bmc::default());
    let decide = |server: &Server| {
        status(&machine(server, None, &HOLDS), None, &PowerOutcome::unasked(server), &at(1))
    };
    assert!(!decide(&clean).status.ready);
    clean.status.get_or_insert_default().conditions.push(Condition::holds(POWER_REACHABLE, at(0)));
    assert!(decide(&clean).status.ready);
    clean.spec.bmc = None;
    let decision = decide(&clean);
    assert!(decision.status.ready && decision.status.power == "on");
    assert!(condition::find(&decision.status.conditions, POWER_REACHABLE).is_none());
}

#[test]
fn every_standing_has_its_own_reason() {
    let mut reasons: Vec<_> = Standing::ALL.iter().map(|standing| standing.reason()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Standing::ALL.len());
}

#[test]
fn a_machine_that_a_restored_state_did_not_know_says_so_until_it_is_accepted() {
    let mark = "2026-01-01T00:00:00Z etcd was restored";
    let mut unknown = with_state(server(false, false, false), NeverUsed);
    unknown
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(UNKNOWN_AFTER_RESTORE_ANNOTATION.to_owned(), mark.to_owned());
    let decision = decide(&unknown, None);
    let condition = ready(&decision);
    assert_eq!((condition.reason.as_str(), condition.severity.as_str()), ("NotAccepted", "Warning"));
    assert!(condition.message.contains(mark) && condition.message.contains("spec.accepted"), "{condition:?}");
    unknown.spec.accepted = true;
    assert_eq!(ready(&decide(&unknown, None)).reason, "NotClean", "the mark decides nothing");
}
