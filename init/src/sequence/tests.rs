//! The lists under snapshot, and what a bad phase does to the others.

use super::*;
use crate::console::Console;
use crate::layout::Layout;
use crate::supervise::reaper::Reaper;

fn context(dir: &std::path::Path, container: bool) -> Context {
    Context::new(Layout::under(dir), container, Console::with(|_| {}), Reaper::default())
}

fn phase(name: &'static str, run: fn(Context) -> Work) -> Phase {
    Phase { name, when: When::Always, limit: Duration::from_secs(5), run, without: "nothing" }
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
    let phases = [
        phase("fails", |_| Box::pin(async { Err("no luck".into()) })),
        phase("panics", |_| Box::pin(async { panic!("a bug") })),
        phase("hangs", |_| Box::pin(std::future::pending())),
        phase("works", |_| Box::pin(async { Ok(()) })),
    ];
    run(&phases, &context).await;
    let status = context.status.get();
    let outcomes: Vec<_> = status.phases.iter().map(|phase| (phase.name.as_str(), phase.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("fails", PhaseOutcome::Degraded),
            ("panics", PhaseOutcome::Degraded),
            ("hangs", PhaseOutcome::Degraded),
            ("works", PhaseOutcome::Done),
        ]
    );
    let message = |index: usize| status.phases[index].message.clone().unwrap_or_default();
    assert_eq!(message(0), "no luck; nothing");
    assert!(message(1).starts_with("a bug in PID 1"), "{}", message(1));
    assert_eq!(message(2), "not done after 5.0 s; nothing");
}

#[tokio::test]
async fn machine_phases_are_left_out_in_a_container() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), true);
    let mut modules = phase("modules", |_| Box::pin(async { panic!("must not run") }));
    modules.when = When::Machine;
    run(&[modules, phase("other", |_| Box::pin(async { Ok(()) }))], &context).await;
    let names: Vec<_> = context.status.get().phases.into_iter().map(|phase| phase.name).collect();
    assert_eq!(names, ["other"]);
}
