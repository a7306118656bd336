//! Starts the boot services; everything they do is in the library.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::path::PathBuf;
use std::process::ExitCode;

use bloomery_platform::program;
use bloomery_sys::confine::{Needs, confine_and_say, directories_of};
use bootsvc::config::Args;
use clap::Parser;

/// What is logged without `RUST_LOG`. The client's own lines repeat each failure that we report.
const DEFAULT_LOG: &str = "info,kube_client=off";

fn main() -> ExitCode {
    let args = Args::parse();
    program::init_log(args.log_json, DEFAULT_LOG);
    if args.confine {
        // Before the runtime has threads.
        confine_and_say(&Needs { reads: readable(&args), ..Needs::default() });
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::warn!("another TLS provider is installed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread();
    program::run("boot services", runtime, async |shutdown| Ok(bootsvc::service::run(args, shutdown).await?))
}

/// All files that are served or asked; nothing is written.
fn readable(args: &Args) -> Vec<PathBuf> {
    let mut paths = directories_of(args.kubeconfig.as_deref());
    paths.extend([&args.share_dir, &args.env_dir, &args.plane_dir].map(PathBuf::clone));
    paths
}
