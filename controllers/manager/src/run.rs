//! `controllers run`: config → build → run → drain.
//!
//! Never outlives a part: when one ends that should not, the process ends, and its supervisor starts it anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bloomery_config::{IpmiPxeMethod, SideroOptions};
use bloomery_plane::{Fencer, Gate, Ledger};
use bloomery_power::http_api::Hooks;
use bloomery_power::{Config as PoolConfig, Network, Pool, PxeMode};
use futures::{Stream, StreamExt};
use kube::runtime::reflector::{Lookup, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api_client;
use crate::cli::RunOptions;
use crate::environment::demand::Demand;
use crate::health::{self, Health, Part};
use crate::keep;
use crate::metrics::PowerCalls;
use crate::reconcile::Context;
use crate::webhook::{self, Webhook, tls::ReloadedCertificate};
use crate::{environment, fence, server, server_class, watch};

/// Time for work under way when told to stop; less than what a supervisor allows before SIGKILL.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// Why the controllers do not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no client.
    #[error("failed to connect")]
    Client(#[source] api_client::Error),
    /// There is no certificate.
    #[error("failed to load the webhook certificate")]
    Certificate(#[source] webhook::tls::Error),
    /// Nobody knows who this plane is.
    #[error("failed to find out whether this plane may act")]
    Plane(#[source] bloomery_plane::Error),
    /// A port is taken or not ours.
    #[error("failed to listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be waited for.
    #[error("failed to wait for signals")]
    Signals(#[source] std::io::Error),
    /// A part ended that never should.
    #[error("failed to keep {part} running")]
    PartEnded {
        /// The part.
        part: &'static str,
    },
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: &RunOptions) -> Result<(), Error> {
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let client = api_client::from_kubeconfig(&options.kubeconfig).await.map_err(Error::Client)?;
    let certificate = ReloadedCertificate::load(&options.webhook_cert_dir).map_err(Error::Certificate)?;
    let health_listener = listen(options.health_addr).await?;
    let listener = listen(SocketAddr::new(options.webhook_bind, options.webhook_port)).await?;
    let health = Health::default();
    let mut parts = JoinSet::new();

    let (state, token) = (health.clone(), stop.clone());
    parts.spawn(async move {
        if let Err(error) = health::serve(health_listener, state, token).await {
            error!(error = %error, "health server failed");
        }
        "health"
    });
    // The webhook is up before anything asks the API server for an object.
    let webhook = Webhook { listener, certificate, metrics: health.metrics.clone() };
    let token = stop.clone();
    parts.spawn(async move {
        if let Err(error) = webhook::serve(webhook, token).await {
            error!(error = %crate::error_chain::ErrorChain(&error), "webhook server failed");
        }
        "webhook"
    });
    health.readiness.set(Part::Webhook);
    info!(webhook = options.webhook_port, health = %options.health_addr, "listening");

    let reached = stop.run_until_cancelled(api_client::wait_for_api(&client)).await;
    if reached.is_some() {
        let (established, gate) =
            bloomery_plane::establish(&client, &options.plane_dir).await.map_err(Error::Plane)?;
        let gate = gate.accepting_any_contents(options.options.get().sidero.auto_accept_non_empty);
        let plane = ThisPlane { gate, ledger: established.ledger(), fencer: established.fencer() };
        let (api, token) = (client.clone(), stop.clone());
        parts.spawn(async move {
            Box::pin(bloomery_plane::keep(&api, established, token)).await;
            "plane"
        });
        start_controllers(options, &client, plane, &health, &stop, &mut parts);
    }
    drive(parts, &stop).await
}

/// What this plane is, for those that act for it.
struct ThisPlane {
    gate: Gate,
    ledger: Option<Ledger>,
    fencer: Fencer,
}

fn start_controllers(
    options: &RunOptions,
    client: &kube::Client,
    ThisPlane { gate, ledger, fencer }: ThisPlane,
    health: &Health,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) {
    let context = || Context::new(client.clone(), health.metrics.clone());
    let (store, work) = server::orphan::controller(context(), gate.clone(), stop.clone());
    start(parts, "serverbindings", Part::ServerBindings, health, store, work);
    let (changed, demand) = (Arc::new(Notify::new()), Demand::default());
    let touched = Arc::new(Notify::new());
    let (watch, all, fleet, concerned) =
        watch::servers(client, vec![changed.clone(), touched.clone()], demand.clone());
    let bindings = watch::bindings(client, fleet.clone(), touched.clone());
    let names = fleet.clone();
    let watched = fence::Watched {
        servers: watch.store.clone(),
        names: Box::new(move || names.names()),
        bindings: bindings.store.clone(),
        touched,
    };
    let (common, acting, token) = (context(), gate.clone(), stop.clone());
    parts.spawn(async move {
        Box::pin(fence::run(common, acting, fencer, watched, token)).await;
        "fence"
    });
    let sweep = server::age::Sweep::new(context(), gate.clone(), watch.store.clone(), fleet.clone());
    let token = stop.clone();
    parts.spawn(async move {
        Box::pin(sweep.run(token)).await;
        "age"
    });
    let listed = watch.store.clone();
    let caches = server::Caches { servers: watch, bindings, fleet, concerned };
    let work = server::controller(context(), servers(options, gate, ledger, health), caches, stop.clone());
    start(parts, "servers", Part::Servers, health, listed, work);
    let (store, work) = server_class::controller(context(), all, changed, stop.clone());
    start(parts, "serverclasses", Part::ServerClasses, health, store, work);
    let assets = environment::Options {
        directory: options.env_dir.clone(),
        assets: options.assets_dir.clone(),
        extra_ca: options.extra_ca_file.clone(),
    };
    let (store, work) = environment::controller(context(), assets, demand, stop.clone());
    start(parts, "environments", Part::Environments, health, store, work);
    let (client, token, readiness) = (client.clone(), stop.clone(), health.readiness.clone());
    parts.spawn(async move {
        Box::pin(keep::keep_defaults(client, token, || readiness.set(Part::Defaults))).await;
        "defaults"
    });
}

/// The options of the Server controller, with the pool of all management controllers.
fn servers(options: &RunOptions, gate: Gate, ledger: Option<Ledger>, health: &Health) -> server::Options {
    let SideroOptions {
        server_reboot_timeout,
        ipmi_pxe_method,
        test_power_simulated_explicit_failure_prob: explicit,
        test_power_simulated_silent_failure_prob: silent,
        ..
    } = options.options.get().sidero.clone();
    let reboot_timeout = server_reboot_timeout.duration();
    let network = Network { hooks: Hooks { explicit, silent, ..Hooks::default() }, ..Network::default() };
    let observer = Arc::new(PowerCalls(health.metrics.clone()));
    let pxe_mode = match ipmi_pxe_method {
        IpmiPxeMethod::Uefi => PxeMode::Uefi,
        IpmiPxeMethod::Bios => PxeMode::Bios,
    };
    let pool = Pool::new(PoolConfig::default(), observer, Arc::new(network));
    server::Options { gate, pool, reboot_timeout, pxe_mode, ledger }
}

/// Runs a controller; its part is ready once its objects were listed.
fn start<K>(
    parts: &mut JoinSet<&'static str>,
    name: &'static str,
    part: Part,
    health: &Health,
    store: Store<K>,
    work: impl Stream<Item = ()> + Send + 'static,
) where
    K: Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let readiness = health.readiness.clone();
    parts.spawn(async move {
        let listed = async {
            if store.wait_until_ready().await.is_ok() {
                readiness.set(part);
            }
        };
        futures::join!(listed, work.for_each(|()| futures::future::ready(())));
        name
    });
}

/// Waits for the stop and then for every part; a part that ends before is an error.
async fn drive(mut parts: JoinSet<&'static str>, stop: &CancellationToken) -> Result<(), Error> {
    let mut failed = None;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = parts.join_next() => {
            // A stop ends parts too, and may be seen here first.
            if !stop.is_cancelled() {
                failed = Some(match ended {
                    Some(Ok(part)) => part,
                    Some(Err(_)) | None => "a part",
                });
            }
        }
    }
    stop.cancel();
    let drained = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
        warn!("stopping with work under way");
        parts.abort_all();
    }
    if let Some(part) = failed {
        return Err(Error::PartEnded { part });
    }
    info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

fn stop_on_signals(stop: &CancellationToken) -> Result<(), Error> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(Error::Signals)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            info!("told to stop");
            stop.cancel();
        });
    }
    Ok(())
}
