//! The table of the Server controller row by row, the clock that jumps, and what is never commanded.

use proptest::prelude::*;

use super::super::fixtures::{
    HOLDS, any_authority, any_binding, any_server, at, binding, leaving, machine, powerless, server,
    with_state, without_configuration,
};
use super::super::identity::{Marks, Peer, SharedMark};
use super::*;
use crate::evidence::DiskState::{Bound, Clean, Installed, NeverUsed, Released};
use crate::readiness::{CONFIGURATION_READY, LOAD_FAILED};
use crate::server_binding::{ServerBindingStatus, TALOS_CONFIG_LOADED, TALOS_INSTALLED};

const TIMEOUT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_hours(1);

fn request<'a>(
    server: &'a Server,
    binding: Option<&'a ServerBinding>,
    reading: Result<Power, &'a str>,
    now: &'a Time,
) -> PowerRequest<'a> {
    PowerRequest {
        server,
        binding,
        authority: &HOLDS,
        conflict: None,
        shared: None,
        reading,
        is_fake: false,
        reboot_timeout: TIMEOUT,
        stamp_seen_for: LONG,
        now,
    }
}

fn ask(server: &Server, binding: Option<&ServerBinding>, reading: Result<Power, &str>) -> PowerDecision {
    power(&request(server, binding, reading, &at(50)))
}

fn cycled(mut server: Server, time: Time) -> Server {
    let condition =
        Condition::fails(POWER_CYCLE, Severity::Info, IN_PROGRESS, "Server wipe in progress.", time);
    server.status.as_mut().unwrap().conditions.push(condition);
    server
}

fn dirty() -> Server {
    with_state(server(true, false, false), Released)
}

fn unreadable() -> PowerDecision {
    PowerDecision {
        warning: Some("Failed to determine power status: timed out.".to_owned()),
        ..PowerDecision::none(Some(ERROR_REQUEUE))
    }
}

#[test]
fn row_1_a_machine_that_is_not_accepted_is_left_alone() {
    for state in [NeverUsed, Released, Clean, Bound] {
        for bound in [None, Some(&binding(false)), Some(&binding(true))] {
            for reading in [Ok(Power::On), Ok(Power::Off), Err("timed out")] {
                let seen = with_state(server(false, bound.is_some(), false), state);
                assert_eq!(ask(&seen, bound, reading), PowerDecision::none(None), "{state:?}");
            }
        }
    }
}

#[test]
fn row_2_a_bound_machine_that_says_clean_is_taken_as_bound() {
    let seen = with_state(server(true, true, true), Clean);
    assert_eq!(ask(&seen, Some(&binding(false)), Ok(Power::Off)).action, PowerAction::PxeOn);
    assert_eq!(ask(&seen, Some(&binding(false)), Ok(Power::On)).action, PowerAction::None);
}

#[test]
fn row_3_a_clean_machine_is_switched_off() {
    let seen = with_state(server(true, false, true), Clean);
    let off = ask(&seen, None, Ok(Power::On));
    assert_eq!(off.action, PowerAction::PowerOff);
    assert_eq!((off.success, off.requeue, off.claim), (Some("Server powered off."), None, None));
    assert_eq!(ask(&seen, None, Ok(Power::Off)), PowerDecision::none(None));
    assert_eq!(ask(&seen, None, Err("timed out")), unreadable());
}

#[test]
fn row_4_a_bound_machine_is_switched_on_into_its_environment() {
    let seen = with_state(server(true, true, false), Bound);
    let on = ask(&seen, Some(&binding(false)), Ok(Power::Off));
    assert_eq!(on.action, PowerAction::PxeOn);
    assert_eq!(on.success, Some("Server powered on and set PXE boot once into the environment."));
    assert_eq!((on.requeue, on.claim), (Some(BOUND_REQUEUE), None));
    assert_eq!(ask(&seen, Some(&binding(false)), Ok(Power::On)), PowerDecision::none(Some(BOUND_REQUEUE)));
    assert_eq!(ask(&seen, Some(&binding(false)), Err("timed out")), unreadable());
}

#[test]
fn row_4_an_installed_machine_is_switched_on_from_its_disk_unless_it_always_netboots() {
    let mut seen = with_state(server(true, true, false), Bound);
    let on = ask(&seen, Some(&binding(true)), Ok(Power::Off));
    assert_eq!((on.action, on.success), (PowerAction::PowerOn, Some("Server powered on.")));
    assert_eq!(on.requeue, Some(BOUND_REQUEUE));
    seen.spec.pxe_boot_always = true;
    assert_eq!(ask(&seen, Some(&binding(true)), Ok(Power::Off)).action, PowerAction::PxeOn);
}

#[test]
fn a_bound_machine_whose_binding_is_leaving_is_left_as_it_is() {
    let seen = with_state(server(true, true, false), Bound);
    for installed in [false, true] {
        assert_eq!(ask(&seen, Some(&leaving(binding(installed))), Ok(Power::Off)), PowerDecision::none(None));
    }
}

/// Criterion C4: no disk to install to, a patch that cannot be applied, documents in conflict.
#[test]
fn row_4_a_bound_machine_stays_off_until_its_configuration_is_good() {
    let bound = |conditions: Vec<Condition>| ServerBinding {
        status: Some(ServerBindingStatus { ready: true, conditions, boot: None }),
        ..without_configuration()
    };
    let fails = |type_, severity, reason| Condition::fails(type_, severity, reason, "no disk", at(1));
    let holds = |type_| Condition::holds(type_, at(1));
    let bad = || fails(CONFIGURATION_READY, Severity::Error, "NoInstallDisk");
    let loaded = || fails(TALOS_CONFIG_LOADED, Severity::Error, LOAD_FAILED);
    let seen = with_state(server(true, true, false), Bound);
    let told = Some("Server is not powered on: no disk.".to_owned());
    for (conditions, is_on, warning) in [
        (vec![], false, None),
        (vec![fails(CONFIGURATION_READY, Severity::Info, "WaitingForBootstrapData")], false, None),
        (vec![fails(CONFIGURATION_READY, Severity::Warning, "ServerClassMissing")], false, None),
        (vec![bad()], false, told.clone()),
        (vec![bad(), loaded()], false, told),
        (vec![holds(CONFIGURATION_READY)], true, None),
        (vec![holds(CONFIGURATION_READY), loaded()], true, None),
        // Its node runs with what it has: a later patch that is bad keeps it from nothing.
        (vec![bad(), holds(TALOS_CONFIG_LOADED)], true, None),
    ] {
        let decided = ask(&seen, Some(&bound(conditions.clone())), Ok(Power::Off));
        let action = if is_on { PowerAction::PxeOn } else { PowerAction::None };
        assert_eq!((decided.action, decided.warning), (action, warning), "{conditions:?}");
        // One that is on is not cycled.
        let on = ask(&seen, Some(&bound(conditions)), Ok(Power::On));
        assert_eq!(on, PowerDecision::none(Some(BOUND_REQUEUE)));
    }
    assert_eq!(ask(&seen, Some(&without_configuration()), Err("timed out")), unreadable());
    // An installed node has its configuration on its disk.
    let installed = bound(vec![bad(), holds(TALOS_INSTALLED)]);
    let seen = with_state(server(true, true, false), Installed);
    assert_eq!(ask(&seen, Some(&installed), Ok(Power::Off)).action, PowerAction::PowerOn);
}

#[test]
fn row_5_a_dirty_machine_is_cycled_and_claimed_first() {
    for state in [NeverUsed, Released] {
        let seen = with_state(server(true, false, false), state);
        let on = ask(&seen, None, Ok(Power::On));
        assert_eq!(on.action, PowerAction::PxeCycle);
        assert_eq!(on.success, Some("Server power cycled and set to PXE boot once."));
        assert_eq!(on.requeue, Some(TIMEOUT / 3));
        let claim = on.claim.unwrap();
        assert_eq!((claim.status, claim.severity.as_str()), (ConditionStatus::False, "Info"));
        assert_eq!((claim.type_.as_str(), claim.reason.as_str()), ("PowerCycle", "InProgress"));
        assert_eq!(claim.message, "Server power cycled for wiping at 2026-01-01T00:00:50Z.");
        let off = ask(&seen, None, Ok(Power::Off));
        assert_eq!(off.action, PowerAction::PxeOn);
        assert_eq!(off.success, Some("Server powered on and set to PXE boot once."));
        assert!(off.claim.is_some());
        assert_eq!(ask(&seen, None, Err("timed out")), unreadable());
    }
}

#[test]
fn row_5_a_cycle_or_heartbeat_postpones_the_next_cycle_by_the_timeout() {
    let waits = PowerDecision::none(Some(TIMEOUT / 3));
    for (stamp, cycles) in [(50, false), (49, false), (21, false), (20, true), (1, true)] {
        let decided = ask(&cycled(dirty(), at(stamp)), None, Ok(Power::On));
        assert_eq!(decided.action == PowerAction::PxeCycle, cycles, "{stamp}");
        assert!(cycles || decided == waits);
        // An unreachable controller is nobody's concern while the agent works.
        assert!(cycles || ask(&cycled(dirty(), at(stamp)), None, Err("timed out")) == waits);
    }
    // One that ended does not postpone.
    let mut ended = dirty();
    ended.status.as_mut().unwrap().conditions.push(Condition::holds(POWER_CYCLE, at(49)));
    assert_eq!(ask(&ended, None, Ok(Power::On)).action, PowerAction::PxeCycle);
}

#[test]
fn a_time_from_the_future_counts_as_now_and_blocks_for_one_timeout_at_most() {
    let mut seen = cycled(dirty(), serde_json::from_str("\"2031-01-01T00:00:00Z\"").unwrap());
    let first = power(&request(&seen, None, Ok(Power::On), &at(10)));
    assert_eq!((first.action, first.requeue), (PowerAction::None, Some(TIMEOUT / 3)));
    let clamped = first.claim.unwrap();
    assert_eq!(clamped.last_transition_time, at(10));
    assert_eq!(clamped.message, "Server wipe in progress.");
    seen.status.as_mut().unwrap().conditions = vec![clamped];
    assert_eq!(power(&request(&seen, None, Ok(Power::On), &at(39))).action, PowerAction::None);
    assert_eq!(power(&request(&seen, None, Ok(Power::On), &at(40))).action, PowerAction::PxeCycle);
}

#[test]
fn a_clock_that_jumps_ahead_does_not_interrupt_a_wipe() {
    let seen = cycled(dirty(), at(0));
    let later: Time = serde_json::from_str("\"2031-01-01T00:00:00Z\"").unwrap();
    let mut asked = request(&seen, None, Ok(Power::On), &later);
    // The agent's last heartbeat was 20 s ago by the clock that cannot jump.
    asked.reboot_timeout = Duration::from_mins(20);
    asked.stamp_seen_for = Duration::from_secs(20);
    assert_eq!(power(&asked).action, PowerAction::None);
    asked.stamp_seen_for = SILENCE;
    assert_eq!(power(&asked).action, PowerAction::PxeCycle);
    // A timeout shorter than that is the user's word.
    asked.reboot_timeout = Duration::from_secs(5);
    asked.stamp_seen_for = Duration::from_secs(5);
    assert_eq!(power(&asked).action, PowerAction::PxeCycle);
}

#[test]
fn without_power_control_nothing_is_commanded_announced_or_claimed() {
    for (seen, bound) in [
        (dirty(), None),
        (with_state(server(true, false, true), Clean), None),
        (with_state(server(true, true, false), Bound), Some(binding(false))),
    ] {
        let now = at(50);
        let asked = PowerRequest { is_fake: true, ..request(&seen, bound.as_ref(), Ok(Power::On), &now) };
        let PowerDecision { action, claim, success, warning, requeue: _ } = power(&asked);
        assert_eq!((action, claim, success, warning), (PowerAction::None, None, None, None));
    }
}

#[test]
fn lost_unconfirmed_and_fenced_machines_are_left_alone() {
    let cases = [
        with_state(server(true, true, false), Bound),
        with_state(server(true, false, true), Bound),
        server(true, true, false),
        server(true, false, false),
        server(true, false, true),
    ];
    for seen in cases {
        for reading in [Ok(Power::On), Ok(Power::Off), Err("timed out")] {
            assert_eq!(ask(&seen, None, reading), PowerDecision::none(None), "{seen:?}");
        }
    }
    let (now, fenced) = (at(50), PowerDecision::none(Some(ERROR_REQUEUE)));
    for authority in powerless() {
        for seen in [dirty(), with_state(server(true, false, true), Clean)] {
            let asked = PowerRequest { authority: &authority, ..request(&seen, None, Ok(Power::On), &now) };
            assert_eq!(power(&asked), fenced);
        }
    }
}

#[test]
fn a_machine_in_a_conflict_or_with_a_shared_controller_gets_no_command() {
    let mark = SharedMark::Card("52:54:00:00:00:01".to_owned());
    let peers = vec![Peer { server: "b".to_owned(), mark, claimed: false, is_tombstone: false }];
    let held = Conflict { peers, rivals: Vec::new() };
    let shown = Conflict { peers: Vec::new(), rivals: vec![Marks::default()] };
    let shared = SharedController { endpoint: "10.0.0.5 port 623".to_owned(), others: vec!["b".to_owned()] };
    let bound = binding(false);
    let cases = [
        (dirty(), None, Ok(Power::On)),
        (with_state(server(true, false, true), Clean), None, Ok(Power::On)),
        (with_state(server(true, true, false), Bound), Some(&bound), Ok(Power::Off)),
    ];
    let now = at(50);
    for (seen, bound, reading) in cases {
        let plain = request(&seen, bound, reading, &now);
        assert_ne!(power(&plain).action, PowerAction::None);
        for asked in
            [PowerRequest { conflict: Some(&held), ..plain }, PowerRequest { shared: Some(&shared), ..plain }]
        {
            assert_eq!(power(&asked), PowerDecision::none(None));
        }
        // A stranger who says names stops nobody.
        assert_ne!(power(&PowerRequest { conflict: Some(&shown), ..plain }).action, PowerAction::None);
    }
}

proptest! {
    /// Promises S2 and S3 for power.
    #[test]
    fn a_command_needs_acceptance_authority_and_a_known_claim(
        server in any_server(), bound in proptest::option::of(any_binding()), authority in any_authority(),
        which in 0..4_usize, is_fake in any::<bool>(), seen in 0..200_u64,
    ) {
        let reading = [Ok(Power::On), Ok(Power::Off), Ok(Power::Unknown), Err("timed out")][which];
        let now = at(50);
        let decided = power(&PowerRequest {
            authority: &authority, is_fake, stamp_seen_for: Duration::from_secs(seen),
            ..request(&server, bound.as_ref(), reading, &now)
        });
        let standing = machine(&server, bound.as_ref(), &authority).standing();
        if decided.action != PowerAction::None {
            prop_assert!(authority.acts() && server.spec.accepted);
            prop_assert!(!is_fake || reading == Ok(Power::Off));
            prop_assert!(decided.success.is_some() && decided.warning.is_none());
        }
        match decided.action {
            PowerAction::None => {}
            PowerAction::PowerOff => prop_assert_eq!((standing, reading), (Standing::Clean, Ok(Power::On))),
            PowerAction::PowerOn => prop_assert_eq!((standing, reading), (Standing::Installed, Ok(Power::Off))),
            PowerAction::PxeCycle => {
                prop_assert_eq!((standing, reading), (Standing::Dirty, Ok(Power::On)));
                prop_assert!(bound.is_none() && decided.claim.is_some());
            }
            PowerAction::PxeOn => {
                prop_assert_eq!(reading, Ok(Power::Off));
                prop_assert!(matches!(standing, Standing::Dirty | Standing::Bound | Standing::Installed));
                prop_assert_eq!(standing == Standing::Dirty, decided.claim.is_some());
            }
        }
    }
}
