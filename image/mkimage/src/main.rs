//! Entry point of `mkimage`: parses the command line, runs it, prints the error chain.
//! It must never hold build logic; that lives in the library half.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match mkimage::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkimage: {error:#}");
            ExitCode::FAILURE
        }
    }
}
