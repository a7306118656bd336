//! Entry of `controllers`: reads the command line, runs one subcommand, prints the error chain, exits.
//!
//! Never holds logic: that is in the library half.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::process::ExitCode;

use bloomery_controllers::cli::{Cli, Command, RunOptions};
use bloomery_platform::chain;
use bloomery_sys::confine::{Needs, confine_and_say, directories_of};
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    // One TLS implementation for client and server. An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match obey(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("controllers: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Apply(options) => runtime()?.block_on(bloomery_controllers::apply::run(&options))?,
        Command::Run(options) => {
            // Both before the runtime has threads; the confined process can start nothing any more.
            let launcher = bloomery_controllers::run::launcher(&options)?;
            if options.confine {
                confine_and_say(&needs(&options));
            }
            runtime()?.block_on(bloomery_controllers::run::run(&options, launcher))?;
        }
        Command::TalosconfigLauncher { program } => {
            bloomery_talosconfig::serve_launcher(program, Vec::new())?;
        }
    }
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// A file of the pod's service account, where there is no kubeconfig.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Identities, downloads and the plane's own files.
fn needs(options: &RunOptions) -> Needs {
    let files =
        [options.kubeconfig.as_deref().or(Some(SERVICE_ACCOUNT.as_ref())), options.extra_ca_file.as_deref()];
    let mut reads = directories_of(files.into_iter().flatten());
    reads.extend([options.webhook_cert_dir.clone(), options.assets_dir.clone()]);
    Needs { reads, writes: vec![options.env_dir.clone(), options.plane_dir.clone()], ..Needs::default() }
}
