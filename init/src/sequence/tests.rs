//! The lists under snapshot, and what a bad phase does to the others.

use super::*;
use crate::console::Console;
use crate::layout::Layout;
use crate::supervise::reaper::Reaper;

fn context(dir: &std::path::Path, container: bool) -> Context {
    Context::new(Layout::under(dir), container, Console::with(|_| {}), Reaper::default())
}

fn phase(name: &'static str) -> Phase {
    Phase { name, when: When::Always, limit: Duration::from_secs(5), without: "nothing" }
}

fn going() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[test]
fn the_boot_reads_top_to_bottom() {
    insta::assert_snapshot!(boot::PHASES.map(|phase| format!("{phase:?}")).join("\n"));
}

#[test]
fn the_shutdown_reads_top_to_bottom() {
    insta::assert_snapshot!(shutdown::PHASES.map(|phase| format!("{phase:?}")).join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_phase_that_fails_panics_or_hangs_degrades_and_the_next_one_runs() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), false);
    let phases = ["fails", "fails with something", "panics", "hangs", "works"].map(phase);
    let [fails, with_something, panics, hangs, works] = phases;
    let mut sequence = Sequence::new(&context, &phases, going());
    let failure = || std::io::Error::other("no luck");
    assert_eq!(sequence.run::<u8, _>(fails, async move { Err(failure().into()) }).await, None);
    assert_eq!(
        sequence.run(with_something, async move { Err(Shortfall::with(failure(), 7)) }).await,
        Some(7)
    );
    assert_eq!(sequence.run::<u8, _>(panics, async { panic!("a bug") }).await, None);
    assert_eq!(sequence.run::<u8, _>(hangs, std::future::pending()).await, None);
    assert_eq!(sequence.run(works, async { Ok("found") }).await, Some("found"));
    let status = context.status.get();
    let outcomes: Vec<_> = status.phases.iter().map(|phase| (phase.name.as_str(), phase.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("fails", PhaseOutcome::Degraded),
            ("fails with something", PhaseOutcome::Degraded),
            ("panics", PhaseOutcome::Degraded),
            ("hangs", PhaseOutcome::Degraded),
            ("works", PhaseOutcome::Done),
        ]
    );
    let message = |index: usize| status.phases[index].message.clone().unwrap_or_default();
    assert_eq!(message(0), "no luck; nothing");
    assert!(message(2).starts_with("a bug in PID 1"), "{}", message(2));
    assert_eq!(message(3), "not done after 5.0 s; nothing");
}

#[tokio::test]
async fn machine_phases_are_left_out_in_a_container() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), true);
    let mut modules = phase("modules");
    modules.when = When::Machine;
    let phases = [modules, phase("other")];
    let mut sequence = Sequence::new(&context, &phases, going());
    assert_eq!(sequence.run::<(), _>(modules, async { panic!("must not run") }).await, None);
    assert_eq!(sequence.run(phases[1], async { Ok(()) }).await, Some(()));
    let names: Vec<_> = context.status.get().phases.into_iter().map(|phase| phase.name).collect();
    assert_eq!(names, ["other"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_the_phase_under_way_and_begins_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), false);
    let phases = ["hangs", "late"].map(phase);
    let (stop, stopped) = watch::channel(false);
    let mut sequence = Sequence::new(&context, &phases, stopped);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.send_replace(true);
    });
    let started = Instant::now();
    assert_eq!(sequence.run::<(), _>(phases[0], std::future::pending()).await, None);
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!(sequence.run::<(), _>(phases[1], async { panic!("must not run") }).await, None);
    let names: Vec<_> = context.status.get().phases.into_iter().map(|phase| phase.name).collect();
    assert_eq!(names, ["hangs"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_phase_found_is_handed_on_even_if_the_stop_comes_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), false);
    let (stop, stopped) = watch::channel(false);
    let mut sequence = Sequence::new(&context, &[phase("services")], stopped);
    let work = async move {
        stop.send_replace(true);
        Ok("the supervisor")
    };
    assert_eq!(sequence.run(phase("services"), work).await, Some("the supervisor"));
}
