//! All services of the process, run.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use bloomery_config::ServiceOptions;
use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Args, ConfigError};
use crate::edge::Edge;
use crate::health::{self, Health, State, Weight};
use crate::interfaces::{self, Interface, Selection};
use crate::loaders::{Loader, LoaderStore};
use crate::services::{Objects, Services};
use crate::sources::Sources;
use crate::{dhcp, http, kubernetes, supervise, tftp};

/// Runs everything until `shutdown`. The only error is a configuration that makes no sense:
/// whatever happens later is reported by `/readyz` and retried.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), ConfigError> {
    let (health, tasks) = (Health::default(), TaskTracker::new());
    let part = health.register("kubernetes", Weight::Shown);
    let kubernetes = kubernetes::connect(args.kubeconfig.clone(), part, shutdown.clone());
    let (objects, watches) = Objects::watch(&kubernetes, |name| {
        let part = health.register(name, Weight::Shown);
        move || {
            part.set(State::Up);
        }
    });
    let (services, resolver) = Services::build(&args, kubernetes.clone(), objects)?;
    let Services { sidero, edge, machines, .. } = &*services;
    let interfaces = interfaces::watch(selection(&args), shutdown.clone());
    let kept_up_to_date = [
        resolver.run().boxed(),
        machines.clone().follow(kubernetes).boxed(),
        follow(interfaces.clone(), edge.sources.clone()).boxed(),
    ];
    for work in watches.into_iter().chain(kept_up_to_date) {
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(work));
    }
    let acts = services.authority.watch(health.register("plane", Weight::Shown), shutdown.clone());
    tasks.spawn(serve_health(args.health_addr, edge.clone(), health.clone(), shutdown.clone()));
    let _loaders_part = report_loaders(&edge.loaders, &health);
    if !sidero.disable_dhcp_proxy {
        let context = dhcp::serve::Context {
            edge: edge.clone(),
            log: Arc::default(),
            acts,
            machines: machines.clone(),
            servers: services.objects.servers.clone(),
        };
        tasks.spawn(dhcp::serve::run(context, interfaces, health.clone(), shutdown.clone()));
    }
    tasks.spawn(serve_tftp(edge.clone(), health.clone(), shutdown.clone()));
    let context = http::context::Context::new(services.clone());
    tasks.spawn(serve_http(sidero.http_port, context, health.clone(), shutdown.clone()));
    tracing::info!("boot services started");
    shutdown.cancelled().await;
    tasks.close();
    tasks.wait().await;
    tracing::info!("boot services stopped");
    Ok(())
}

async fn serve_health(address: SocketAddr, edge: Edge, health: Health, shutdown: CancellationToken) {
    // Its own state cannot be asked for while it is down, so it does not count.
    let part = health.register("health", Weight::Shown);
    let stop = shutdown.clone();
    supervise::keep_running(part, shutdown, move |part| {
        part.set(State::Up);
        health::serve::run(address, health.clone(), edge.clone(), stop.clone())
    })
    .await;
}

/// Loaders that are missing are told once at start; requests for them are told as they come.
fn report_loaders(loaders: &LoaderStore, health: &Health) -> health::Part {
    let part = health.register("loaders", Weight::Shown);
    let missing: Vec<&str> = Loader::ALL
        .into_iter()
        .filter(|loader| loaders.read(*loader).is_err())
        .map(Loader::file_name)
        .collect();
    if missing.is_empty() {
        part.set(State::Up);
    } else {
        let missing = missing.join(" ");
        tracing::warn!(directory = %loaders.directory().display(), missing, "loaders missing");
        part.set(State::Down(format!("missing {missing}")));
    }
    part
}

/// Interfaces by the roles that they were given.
fn selection(args: &Args) -> Selection {
    let ServiceOptions { provisioning_interfaces, management_interfaces, .. } = args.options();
    Selection { provisioning: provisioning_interfaces.clone(), management: management_interfaces.clone() }
}

/// Tells the services which networks are for provisioning.
async fn follow(mut interfaces: watch::Receiver<Vec<Interface>>, sources: Sources) {
    loop {
        sources.set_interfaces(&interfaces.borrow_and_update());
        if interfaces.changed().await.is_err() {
            return;
        }
    }
}

async fn serve_tftp(edge: Edge, health: Health, shutdown: CancellationToken) {
    let part = health.register("tftp", Weight::Required);
    supervise::keep_running(part, shutdown, move |part| {
        let edge = edge.clone();
        async move {
            let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, tftp::serve::TFTP_PORT);
            let server = tftp::serve::Server::bind(address, edge)?;
            part.set(State::Up);
            server.run().await
        }
    })
    .await;
}

async fn serve_http(port: u16, context: http::context::Context, health: Health, shutdown: CancellationToken) {
    let http = health.register("http", Weight::Required);
    let stop = CancellationToken::new();
    let (inner, drain) = (stop.clone(), shutdown.clone());
    // Stopping is the service's own affair, so that downloads under way can end.
    let service = supervise::keep_running(http, stop, move |part| {
        let (context, drain, inner) = (context.clone(), drain.clone(), inner.clone());
        async move {
            let listener = http::serve::bind(port)?;
            part.set(State::Up);
            let ended = http::serve::run(listener, context, drain.clone()).await;
            if drain.is_cancelled() {
                inner.cancel();
            }
            ended
        }
    });
    tokio::select! {
        () = service => {}
        // Nothing is left to drain when the port could never be bound.
        () = async { shutdown.cancelled().await; tokio::time::sleep(http::serve::DRAIN * 2).await } => {}
    }
}
