//! `/init` of the lab's Talos: loads what Talos's own kernel has built in and Debian's has as modules, then becomes
//! Talos's init.
//!
//! Nothing else may happen here: everything after it is Talos's.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use bloomery_sys::modules::Modules;

/// Talos's init; its initramfs has it at `/init`.
const TALOS_INIT: &str = "/talos-init";
/// What init mounts, and what machined sets before udev runs.
const BUILT_IN: [&str; 6] = ["loop", "squashfs", "configfs", "efivarfs", "overlay", "br_netfilter"];

fn main() -> ExitCode {
    match Modules::of_running_kernel() {
        Ok(mut modules) => {
            for name in BUILT_IN {
                if let Err(error) = modules.load(name) {
                    // Talos says better what it misses.
                    eprintln!("talos-builtins: failed to load {name}: {error}");
                }
            }
        }
        Err(error) => eprintln!("talos-builtins: failed to read the modules: {error}"),
    }
    let error = Command::new(TALOS_INIT).exec();
    eprintln!("talos-builtins: failed to start {TALOS_INIT}: {error}");
    ExitCode::FAILURE
}
