//! The status that follows, row by row of the controller's table.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::condition::ConditionStatus;
use crate::server::ServerSpec;
use crate::server_binding::{ServerBindingSpec, ServerBindingStatus};

fn at(second: u8) -> Time {
    serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
}

fn server(accepted: bool, in_use: bool, is_clean: bool) -> Server {
    let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
    server.status = Some(ServerStatus { in_use, is_clean, ..ServerStatus::default() });
    server
}

fn binding(installed: bool) -> ServerBinding {
    let mut binding = ServerBinding::new("a", ServerBindingSpec::default());
    if installed {
        let conditions = vec![Condition::holds(crate::server_binding::TALOS_INSTALLED, at(0))];
        binding.status = Some(ServerBindingStatus { ready: true, conditions });
    }
    binding
}

#[test]
fn status_follows_acceptance_binding_and_cleanliness() {
    // accepted, was in use, was clean, bound -> standing, ready, in use, clean, reason of the condition
    let cases = [
        ((false, false, false, false), (Standing::Discovered, false, false, false, "NotAccepted")),
        ((false, false, true, false), (Standing::Discovered, false, false, false, "NotAccepted")),
        ((true, false, true, false), (Standing::Clean, true, false, true, "Available")),
        ((true, false, false, false), (Standing::Dirty, false, false, false, "NotClean")),
        ((true, true, false, false), (Standing::Dirty, false, false, false, "NotClean")),
        ((true, false, true, true), (Standing::Bound, true, true, false, "Bound")),
        ((true, true, false, true), (Standing::Bound, true, true, false, "Bound")),
        ((false, true, false, true), (Standing::Bound, false, true, false, "BoundButNotAccepted")),
    ];
    for ((accepted, in_use, clean, bound), (standing, ready, now_in_use, now_clean, reason)) in cases {
        let binding = bound.then(|| binding(false));
        let decision = status(&server(accepted, in_use, clean), binding.as_ref(), Power::Unknown, &at(1));
        let case = format!("{accepted} {in_use} {clean} {bound}");
        assert_eq!(decision.standing, standing, "{case}");
        let after = &decision.status;
        assert_eq!((after.ready, after.in_use, after.is_clean), (ready, now_in_use, now_clean), "{case}");
        let condition = condition::find(&after.conditions, READY).unwrap();
        assert_eq!(condition.reason, reason, "{case}");
        assert_eq!(condition.status == ConditionStatus::True, ready, "{case}");
        assert_eq!(decision.released, in_use && !bound, "{case}");
    }
}

#[test]
fn installation_is_taken_from_the_binding_and_forgotten_with_it() {
    let bound = status(&server(true, true, false), Some(&binding(true)), Power::On, &at(1));
    assert_eq!(bound.standing, Standing::Installed);
    assert_eq!(bound.status.power, "on");
    assert!(condition::find(&bound.status.conditions, PXE_BOOTED).is_some());
    let mut seen = server(true, true, false);
    seen.status = Some(bound.status);
    // A binding that lost its conditions, after a move, does not undo it.
    let moved = status(&seen, Some(&binding(false)), Power::Off, &at(2));
    assert_eq!(moved.standing, Standing::Installed);
    let free = status(&seen, None, Power::Off, &at(3));
    assert!(condition::find(&free.status.conditions, PXE_BOOTED).is_none());
    assert!(free.released);
}

#[test]
fn addresses_and_foreign_conditions_stay() {
    let mut seen = server(true, false, false);
    let kept = seen.status.as_mut().unwrap();
    kept.conditions = vec![Condition::holds("PowerCycle", at(0))];
    kept.addresses =
        serde_json::from_value(json!([{ "type": "InternalIP", "address": "10.0.0.5" }])).unwrap();
    let decision = status(&seen, None, Power::Unknown, &at(1));
    assert!(condition::find(&decision.status.conditions, "PowerCycle").is_some());
    assert_eq!(decision.status.addresses.len(), 1);
}

proptest! {
    #[test]
    fn bound_or_unaccepted_machines_are_never_clean_and_decisions_settle(
        accepted in any::<bool>(), in_use in any::<bool>(), clean in any::<bool>(),
        bound in proptest::option::of(any::<bool>()),
    ) {
        let binding = bound.map(binding);
        let mut seen = server(accepted, in_use, clean);
        let first = status(&seen, binding.as_ref(), Power::Unknown, &at(1));
        prop_assert!(!first.status.is_clean || (accepted && binding.is_none()));
        prop_assert_eq!(first.status.in_use, binding.is_some());
        prop_assert!(accepted || !first.status.ready);
        seen.status = Some(first.status.clone());
        let second = status(&seen, binding.as_ref(), Power::Unknown, &at(2));
        prop_assert_eq!(second.status, first.status);
        prop_assert!(!second.released);
    }
}

#[test]
fn every_standing_has_its_own_reason() {
    let mut reasons: Vec<_> = Standing::ALL.iter().map(|standing| standing.reason()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Standing::ALL.len());
}
