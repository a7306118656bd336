//! The launcher of the tests: the first argument is the program, the others are files that it also needs.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut paths = std::env::args_os().skip(1).map(Into::into);
    let Some(program) = paths.next() else {
        eprintln!("usage: talosconfig-launcher PROGRAM [LIBRARY...]");
        return ExitCode::from(64);
    };
    match bloomery_talosconfig::serve_launcher(program, paths.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talosconfig-launcher: {}", bloomery_base::chain(&error));
            ExitCode::FAILURE
        }
    }
}
