//! `/init` of the initramfs that unknown machines netboot.
//!
//! It must never exit: a kernel whose PID 1 exits panics, and nobody reads why.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use agent::console::{Screen, fatal};
use agent::{boot, power, run};

/// Long enough to read why, short enough not to wait for.
const RETRY: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "the wait is what is wanted: time to read what went wrong")]
fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "agent: this is the init process of a netbooted machine; it does nothing on a running system"
        );
        return ExitCode::FAILURE;
    }
    let complaints = boot::prepare();
    loop {
        // The loop goes round only after something failed that has no place to be handled.
        match catch_unwind(AssertUnwindSafe(|| live(&complaints))) {
            Ok(()) => {}
            Err(_panic) => tracing::error!("the agent panicked; starting over"),
        }
        std::thread::sleep(RETRY);
    }
}

fn live(complaints: &[String]) {
    let screen = match Screen::open() {
        Ok(screen) => screen,
        Err(error) => return tracing::error!(%error, "failed to start the console; trying again"),
    };
    for complaint in complaints {
        screen.show(&format!("ERROR  {complaint}"));
    }
    match run::run(&screen) {
        Ok(action) => {
            let error = power::end(action);
            screen.show(&fatal(&error, "the machine goes on; switch it off by hand"));
        }
        Err(error) => screen.show(&fatal(&error, "trying again in 30 s")),
    }
}
