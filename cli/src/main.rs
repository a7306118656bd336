//! Parses the command line, runs the subcommand, prints what went wrong with its causes.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::process::ExitCode;

use bloomery::commands::Cli;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            // `{:#}` is the error and its causes in one line: "a: b: c".
            eprintln!("bloomery: {error:#}");
            ExitCode::FAILURE
        }
    }
}
