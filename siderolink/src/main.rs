//! Starts SideroLink; everything it does is in the library.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

use std::path::PathBuf;
use std::process::ExitCode;

use bloomery_sys::confine::{Needs, confine_and_say, directories_of};
use clap::Parser;
use siderolink::config::{Args, Implementation};
use siderolink::tunnel::TUN_DEVICE;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged without `RUST_LOG`. The client's own lines repeat each failure that we report, and boringtun tells
/// each packet that it does not like.
const DEFAULT_LOG: &str = "info,kube_client=off,boringtun=off";

fn main() -> ExitCode {
    let args = Args::parse();
    init_log(args.log_json);
    if args.confine {
        // Before the runtime has threads.
        confine_and_say(&needs(&args));
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::warn!("another TLS provider is installed");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "runtime not started");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = bloomery_base::chain(error.as_ref()), "not started");
            ExitCode::FAILURE
        }
    }
}

fn needs(args: &Args) -> Needs {
    let devices = match args.wireguard {
        Implementation::Kernel => Vec::new(),
        Implementation::Auto | Implementation::Userspace => vec![PathBuf::from(TUN_DEVICE)],
    };
    Needs { reads: directories_of(args.kubeconfig.as_deref()), writes: vec![args.log_dir.clone()], devices }
}

fn init_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { log.json().init() } else { log.with_ansi(false).init() }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    siderolink::service::run(args, shutdown).await?;
    Ok(())
}
