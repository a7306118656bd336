//! The launcher alone, for tests: in the product it is a subcommand of the program that has the client. The first argument is
//! the program that it starts, the others are files that this one also needs.

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
