//! First process of the measured plane's namespaces; see `bloomery_lab::container::enter`.
//!
//! A program of its own, because it must have one thread only.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // On success this program has become the image's PID 1.
    match bloomery_lab::container::enter::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-enter: {error:#}");
            ExitCode::FAILURE
        }
    }
}
