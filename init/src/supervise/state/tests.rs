//! Tables of events with their times, and where they lead.

use super::*;

const POLICY: Policy = Policy {
    kind: Kind::Daemon,
    start_timeout: Duration::from_secs(10),
    hang_timeout: Duration::from_secs(20),
    stop_grace: Duration::from_secs(5),
};

/// Runs a table of (milliseconds, event, expected action, expected state) from the machine's birth.
fn run(policy: Policy, table: &[(u64, Event, Option<Action>, &str)]) -> Machine {
    let start = Instant::now();
    let mut machine = Machine::new(policy, start);
    for (row, (at, event, action, state)) in table.iter().enumerate() {
        let got = machine.handle(*event, start + Duration::from_millis(*at));
        assert_eq!(got, *action, "action in row {row}: {event:?}");
        assert_eq!(name(&machine), *state, "state in row {row}: {event:?}");
    }
    machine
}

fn name(machine: &Machine) -> &'static str {
    match machine.state() {
        State::Waiting { .. } => "waiting",
        State::Starting { .. } => "starting",
        State::Running { failing_since: None, .. } => "running",
        State::Running { failing_since: Some(_), .. } => "failing",
        State::Finished { .. } => "finished",
        State::BackingOff { .. } => "backing off",
        State::Ending { then: Then::BackOff, .. } => "ending, then backing off",
        State::Ending { then: Then::StartAgain, .. } => "ending, then again",
        State::Ending { then: Then::Hold, .. } => "ending, then held",
        State::Ending { then: Then::Stop, .. } => "ending for good",
        State::Held { .. } => "held",
        State::Stopped { .. } => "stopped",
    }
}

const CRASH: Event = Event::Exited { success: false };
const DONE: Event = Event::Exited { success: true };
const FAILED: Event = Event::ProbeFailed { dependencies_ready: true };
const FAILED_WITHOUT_DEPENDENCY: Event = Event::ProbeFailed { dependencies_ready: false };

#[test]
fn starts_when_dependencies_are_ready_and_runs_when_the_probe_succeeds() {
    let machine = run(
        POLICY,
        &[
            (0, Event::Tick, None, "waiting"),
            (10, Event::DependenciesReady, Some(Action::Start), "starting"),
            (11, Event::DependenciesReady, None, "starting"),
            (20, FAILED, None, "starting"),
            (30, Event::ProbeSucceeded, None, "running"),
        ],
    );
    assert!(matches!(machine.state(), State::Running { failing_since: None, .. }));
}

#[test]
fn restarts_after_crash_with_growing_delay() {
    let start = Instant::now();
    let mut machine = Machine::new(POLICY, start);
    let mut now = start;
    let mut delays = Vec::new();
    for _ in 0..4 {
        assert_eq!(machine.handle(Event::DependenciesReady, now), Some(Action::Start));
        machine.handle(CRASH, now);
        let until = machine.wake_at().expect("a restart is due");
        delays.push((until - now).as_millis());
        machine.handle(Event::Tick, until - Duration::from_millis(1));
        assert_eq!(name(&machine), "backing off", "not before its time");
        machine.handle(Event::Tick, until);
        assert_eq!(name(&machine), "waiting");
        now = until;
    }
    assert_eq!(delays, [50, 100, 200, 400]);
}

#[test]
fn a_stable_run_makes_the_next_restart_quick_again() {
    let start = Instant::now();
    let mut machine = Machine::new(POLICY, start);
    let mut now = start;
    for _ in 0..6 {
        machine.handle(Event::DependenciesReady, now);
        machine.handle(CRASH, now);
        now = machine.wake_at().expect("due");
        machine.handle(Event::Tick, now);
    }
    machine.handle(Event::DependenciesReady, now);
    machine.handle(Event::ProbeSucceeded, now);
    now += super::super::backoff::STABLE_AFTER;
    machine.handle(CRASH, now);
    assert_eq!(machine.wake_at(), Some(now + super::super::backoff::FIRST));
}

#[test]
fn a_start_that_fails_backs_off() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (0, Event::StartFailed, None, "backing off"),
            (49, Event::Tick, None, "backing off"),
            (50, Event::Tick, None, "waiting"),
        ],
    );
}

#[test]
fn a_child_that_never_gets_ready_is_ended_and_started_anew() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (9_999, Event::Tick, None, "starting"),
            (10_000, Event::Tick, Some(Action::Terminate), "ending, then backing off"),
            (14_999, Event::Tick, None, "ending, then backing off"),
            (15_000, Event::Tick, Some(Action::Kill), "ending, then backing off"),
            (20_000, Event::Tick, Some(Action::Kill), "ending, then backing off"),
            (20_001, CRASH, None, "backing off"),
        ],
    );
}

#[test]
fn a_ready_child_that_hangs_is_ended_and_one_that_recovers_is_not() {
    let table = [
        (0, Event::DependenciesReady, Some(Action::Start), "starting"),
        (0, Event::ProbeSucceeded, None, "running"),
        (1_000, FAILED, None, "failing"),
        (20_000, FAILED, None, "failing"),
        (20_500, Event::ProbeSucceeded, None, "running"),
        (21_000, FAILED, None, "failing"),
        (40_999, Event::Tick, None, "failing"),
        (41_000, Event::Tick, Some(Action::Terminate), "ending, then backing off"),
    ];
    run(POLICY, &table);
}

#[test]
fn a_child_whose_dependency_is_away_is_not_to_blame() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (0, Event::ProbeSucceeded, None, "running"),
            (1_000, FAILED_WITHOUT_DEPENDENCY, None, "failing"),
            (19_000, FAILED_WITHOUT_DEPENDENCY, None, "failing"),
            (25_000, Event::Tick, None, "failing"),
            (38_999, FAILED, None, "failing"),
            (39_000, Event::Tick, Some(Action::Terminate), "ending, then backing off"),
        ],
    );
}

#[test]
fn a_one_shot_is_ready_when_it_has_ended_well_and_repeated_until_then() {
    let policy = Policy { kind: Kind::OneShot, ..POLICY };
    let machine = run(
        policy,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::ProbeSucceeded, None, "starting"),
            (2, CRASH, None, "backing off"),
            (52, Event::Tick, None, "waiting"),
            (52, Event::DependenciesReady, Some(Action::Start), "starting"),
            (60, DONE, None, "finished"),
        ],
    );
    assert!(matches!(machine.state(), State::Finished { .. }));
    assert_eq!(machine.wake_at(), None);
}

#[test]
fn a_daemon_that_ends_well_has_crashed_all_the_same() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::ProbeSucceeded, None, "running"),
            (2, DONE, None, "backing off"),
        ],
    );
}

#[test]
fn stop_goes_from_term_to_kill_and_never_starts_again() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::ProbeSucceeded, None, "running"),
            (10, Event::Stop, Some(Action::Terminate), "ending for good"),
            (11, Event::Stop, None, "ending for good"),
            (5_009, Event::Tick, None, "ending for good"),
            (5_010, Event::Tick, Some(Action::Kill), "ending for good"),
            (5_020, CRASH, None, "stopped"),
            (6_000, Event::DependenciesReady, None, "stopped"),
            (6_000, Event::Changed, None, "stopped"),
            (6_000, Event::Tick, None, "stopped"),
        ],
    );
}

#[test]
fn stop_needs_no_process() {
    run(POLICY, &[(0, Event::Stop, None, "stopped")]);
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, CRASH, None, "backing off"),
            (2, Event::Stop, None, "stopped"),
        ],
    );
}

#[test]
fn stop_overrides_a_restart_under_way() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::Changed, Some(Action::Terminate), "ending, then again"),
            (2, Event::Stop, None, "ending for good"),
            (3, DONE, None, "stopped"),
        ],
    );
}

#[test]
fn a_changed_definition_starts_it_again_without_delay() {
    run(
        POLICY,
        &[
            (0, Event::Changed, None, "waiting"),
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::ProbeSucceeded, None, "running"),
            (2, Event::Changed, Some(Action::Terminate), "ending, then again"),
            (3, CRASH, None, "waiting"),
            (3, Event::DependenciesReady, Some(Action::Start), "starting"),
        ],
    );
}

/// The events that lead from birth to each state.
fn ways() -> Vec<(&'static str, Vec<Event>)> {
    let started = vec![Event::DependenciesReady];
    let and = |before: &[Event], event| [before, &[event]].concat();
    let running = and(&started, Event::ProbeSucceeded);
    let held = vec![Event::Hold];
    vec![
        ("waiting", Vec::new()),
        ("starting", started.clone()),
        ("running", running.clone()),
        ("failing", and(&running, FAILED)),
        ("backing off", and(&started, CRASH)),
        ("ending, then again", and(&running, Event::Changed)),
        ("ending, then held", and(&running, Event::Hold)),
        ("held", held),
        ("ending for good", and(&running, Event::Stop)),
        ("stopped", vec![Event::Stop]),
    ]
}

#[test]
fn hold_start_and_restart_in_every_state() {
    const T: Option<Action> = Some(Action::Terminate);
    type Outcome = (Option<Action>, &'static str);
    // From, then what hold, start and restart lead to.
    let table: [(&str, Outcome, Outcome, Outcome); 10] = [
        ("waiting", (None, "held"), (None, "waiting"), (None, "waiting")),
        ("starting", (T, "ending, then held"), (None, "starting"), (T, "ending, then again")),
        ("running", (T, "ending, then held"), (None, "running"), (T, "ending, then again")),
        ("failing", (T, "ending, then held"), (None, "failing"), (T, "ending, then again")),
        ("backing off", (None, "held"), (None, "waiting"), (None, "waiting")),
        (
            "ending, then again",
            (None, "ending, then held"),
            (None, "ending, then again"),
            (None, "ending, then again"),
        ),
        (
            "ending, then held",
            (None, "ending, then held"),
            (None, "ending, then again"),
            (None, "ending, then held"),
        ),
        ("held", (None, "held"), (None, "waiting"), (None, "held")),
        ("ending for good", (None, "ending for good"), (None, "ending for good"), (None, "ending for good")),
        ("stopped", (None, "stopped"), (None, "stopped"), (None, "stopped")),
    ];
    for ((from, way), (row, hold, start, restart)) in ways().into_iter().zip(table) {
        assert_eq!(from, row);
        for (event, expected) in [(Event::Hold, hold), (Event::Start, start), (Event::Restart, restart)] {
            let now = Instant::now();
            let mut machine = Machine::new(POLICY, now);
            for event in &way {
                machine.handle(*event, now);
            }
            assert_eq!(name(&machine), from);
            let action = machine.handle(event, now);
            assert_eq!((action, name(&machine)), expected, "{from}: {event:?}");
        }
    }
}

#[test]
fn a_held_child_is_started_by_start_alone_and_stops_with_the_machine() {
    run(
        POLICY,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, Event::ProbeSucceeded, None, "running"),
            (2, Event::Hold, Some(Action::Terminate), "ending, then held"),
            (5_001, Event::Tick, None, "ending, then held"),
            (5_002, Event::Tick, Some(Action::Kill), "ending, then held"),
            (5_003, CRASH, None, "held"),
            (5_004, Event::DependenciesReady, None, "held"),
            (5_004, Event::Changed, None, "held"),
            (5_004, Event::Restart, None, "held"),
            (5_004, Event::ProbeSucceeded, None, "held"),
            (5_004, CRASH, None, "held"),
            (99_999, Event::Tick, None, "held"),
            (99_999, Event::Start, None, "waiting"),
            (99_999, Event::DependenciesReady, Some(Action::Start), "starting"),
            (99_999, Event::Hold, Some(Action::Terminate), "ending, then held"),
            (99_999, DONE, None, "held"),
            (99_999, Event::Stop, None, "stopped"),
        ],
    );
}

#[test]
fn a_one_shot_that_is_done_is_done_again_by_a_restart() {
    let policy = Policy { kind: Kind::OneShot, ..POLICY };
    run(
        policy,
        &[
            (0, Event::DependenciesReady, Some(Action::Start), "starting"),
            (1, DONE, None, "finished"),
            (2, Event::Start, None, "finished"),
            (3, Event::Restart, None, "waiting"),
            (3, Event::DependenciesReady, Some(Action::Start), "starting"),
            (4, DONE, None, "finished"),
        ],
    );
}

#[test]
fn a_start_ends_the_wait_after_a_crash_and_keeps_the_delays() {
    let start = Instant::now();
    let mut machine = Machine::new(POLICY, start);
    machine.handle(Event::DependenciesReady, start);
    machine.handle(CRASH, start);
    machine.handle(Event::Start, start);
    assert_eq!(name(&machine), "waiting");
    machine.handle(Event::DependenciesReady, start);
    machine.handle(CRASH, start);
    assert_eq!(machine.wake_at(), Some(start + Duration::from_millis(100)), "a crash loop stays slow");
}
