//! Starts SideroLink; everything it does is in the library.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::path::PathBuf;
use std::process::ExitCode;

use bloomery_platform::program;
use bloomery_sys::confine::{Needs, confine_and_say, directories_of};
use clap::Parser;
use siderolink::config::{Args, Implementation};
use siderolink::tunnel::TUN_DEVICE;

/// What is logged without `RUST_LOG`. The client's own lines repeat each failure that we report, and boringtun tells
/// each packet that it does not like.
const DEFAULT_LOG: &str = "info,kube_client=off,boringtun=off";

fn main() -> ExitCode {
    let args = Args::parse();
    program::init_log(args.log_json, DEFAULT_LOG);
    if args.confine {
        // Before the runtime has threads.
        confine_and_say(&needs(&args));
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::warn!("another TLS provider is installed");
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    program::run("SideroLink", runtime, async |shutdown| Ok(siderolink::service::run(args, shutdown).await?))
}

fn needs(args: &Args) -> Needs {
    let devices = match args.wireguard {
        Implementation::Kernel => Vec::new(),
        Implementation::Auto | Implementation::Userspace => vec![PathBuf::from(TUN_DEVICE)],
    };
    Needs { reads: directories_of(args.kubeconfig.as_deref()), writes: vec![args.log_dir.clone()], devices }
}
