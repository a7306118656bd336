//! Entry of `controllers`: reads the command line, runs one subcommand, prints the error chain, exits.
//!
//! Never holds logic: that is in the library half.

use std::process::ExitCode;

use bloomery_controllers::cli::{Cli, Command};
use bloomery_controllers::error_chain::ErrorChain;
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    // One TLS implementation for client and server. An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match cli.command {
        Command::Apply(options) => {
            bloomery_controllers::apply::run(&options).await.map_err(anyhow::Error::from)
        }
        Command::Run(options) => bloomery_controllers::run::run(&options).await.map_err(anyhow::Error::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("controllers: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
