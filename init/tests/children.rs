//! The real supervision of real children that crash, hang, ignore SIGTERM, leave orphans, daemonise and never stop
//! writing. One scenario after the other, in a process that is nobody's test runner: it collects every child.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a broken expectation is the failure"
)]

#[path = "children/bench.rs"]
mod bench;
#[path = "children/scenarios.rs"]
mod scenarios;
#[path = "children/stub.rs"]
mod stub;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == stub::WORD) {
        return stub::run(&arguments[1..]);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in scenarios::ALL {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    bloomery_sys::process::become_subreaper().expect("a subreaper");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, scenario) in scenarios::ALL {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        // Each has a runtime of its own, so that none inherits tasks of the one before.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(scenario())));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(outcome.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
