//! `/init` of the initramfs and PID 1 of the appliance: starts the runtime and, whatever happens, stays.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use init::console::Console;
use init::layout::Layout;
use init::{early, log, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

/// Between looks at ended children when nothing else works any more.
const LAST_RESORT_INTERVAL: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if early::is_initramfs() {
        // Becomes PID 1 of the real root; a panic on the way must not end the machine's run either.
        let _ = catch_unwind(|| match early::run() {});
        last_resort(&Console::machine());
    }
    let container = bloomery_sys::container::detect().is_some();
    let console = if container { Console::stdout() } else { Console::machine() };
    log::start(container);
    let whole_life = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => Some(runtime.block_on(run::run(Layout::system(), container, console.clone()))),
            Err(error) => {
                console.line(format!("failed to start the runtime: {error}"));
                None
            }
        }
    };
    match catch_unwind(AssertUnwindSafe(whole_life)) {
        Ok(Some(code)) => code,
        Ok(None) | Err(_) => last_resort(&console),
    }
}

/// The end of PID 1 is the end of the machine, and of whatever still runs on it.
fn last_resort(console: &Console) -> ! {
    console
        .line("a bug in PID 1: services are not supervised any more; restart the machine, and report this");
    loop {
        bloomery_sys::process::reap();
        std::thread::park_timeout(LAST_RESORT_INTERVAL);
    }
}
