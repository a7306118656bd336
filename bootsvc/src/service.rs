//! All services of the process, wired and run.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bloomery_config::ServiceOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::advertise::Advertise;
use crate::authority::PlaneAuthority;
use crate::config::{Args, ConfigError};
use crate::conflicts::Conflicts;
use crate::health::{self, Health, State, Weight};
use crate::http::edge::Edge;
use crate::http::files::Directories;
use crate::interfaces::{self, Interface, Selection};
use crate::kubernetes::Kubernetes;
use crate::loaders::{Loader, LoaderStore};
use crate::machines::Machines;
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::servers::Servers;
use crate::sources::Sources;
use crate::tokens::Tokens;
use crate::trace::Trace;
use crate::turns::Turns;
use crate::{agent, dhcp, events, http, kubernetes, supervise, tftp};

/// Directory of the iPXE binaries below `--share-dir`.
const LOADER_DIRECTORY: &str = "ipxe";
/// Directory of the agents below `--share-dir`.
const AGENT_DIRECTORY: &str = "agent";

/// Runs everything until `shutdown`. The only error is a configuration that makes no sense:
/// whatever happens later is reported by `/readyz` and retried.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), ConfigError> {
    let (endpoint, sidero) = (args.endpoint()?, args.options().sidero.clone());
    let machines = Machines::new(args.options().unknown_machines, args.machines()?);
    let health = Health::default();
    let metrics = Arc::new(Metrics::default());
    let part = health.register("kubernetes", Weight::Shown);
    let kubernetes = kubernetes::connect(args.kubeconfig.clone(), part, shutdown.clone());
    let authority = PlaneAuthority::new(kubernetes.clone(), &args.plane_dir, sidero.auto_accept_non_empty);
    let acts = authority.watch(health.register("plane", Weight::Shown), shutdown.clone());
    let trace = Trace::default();
    let tasks = TaskTracker::new();
    let (advertise, resolver) = Advertise::new(endpoint, sidero.api_port);
    tasks.spawn(resolver.run(shutdown.clone()));
    spawn_health(&args, &health, (&metrics, &trace), &tasks, &shutdown);
    let loaders = Arc::new(LoaderStore::new(args.share_dir.join(LOADER_DIRECTORY)));
    let _loaders_part = report_loaders(&loaders, &health);
    let servers = Servers::default();
    let part = health.register("servers", Weight::Shown);
    tasks.spawn(servers.clone().follow(kubernetes.clone(), part, shutdown.clone()));
    let known = servers.clone();
    machines.tell_by(Arc::new(move |card, uuid| known.is_accepted(card, uuid)));
    tasks.spawn(machines.clone().follow(kubernetes.clone(), shutdown.clone()));
    let interfaces = interfaces::watch(selection(&args), shutdown.clone());
    let sources = if sidero.disable_dhcp_proxy { Sources::without_dhcp() } else { Sources::default() };
    tasks.spawn(follow(interfaces.clone(), sources.clone(), shutdown.clone()));
    let edge = Edge { sources: sources.clone(), ..Edge::default() };
    if !sidero.disable_dhcp_proxy {
        let context = dhcp::serve::Context {
            advertise: advertise.clone(),
            loaders: loaders.clone(),
            metrics: metrics.clone(),
            trace: trace.clone(),
            log: Arc::default(),
            acts,
            sources: sources.clone(),
            machines: machines.clone(),
        };
        tasks.spawn(dhcp::serve::run(context, interfaces, health.clone(), shutdown.clone()));
    }
    let context = tftp::serve::Context {
        loaders: loaders.clone(),
        advertise: advertise.clone(),
        metrics: metrics.clone(),
        trace: trace.clone(),
        sources,
        paths: edge.paths.clone(),
    };
    tasks.spawn(serve_tftp(context, health.clone(), shutdown.clone()));
    let context = http_context(
        &args,
        (kubernetes, authority),
        advertise,
        loaders,
        (metrics, trace),
        (servers, machines, edge),
    );
    tasks.spawn(serve_http(sidero.http_port, context, health.clone(), shutdown.clone()));
    tracing::info!("boot services started");
    shutdown.cancelled().await;
    tasks.close();
    tasks.wait().await;
    tracing::info!("boot services stopped");
    Ok(())
}

fn spawn_health(
    args: &Args,
    health: &Health,
    (metrics, trace): (&Arc<Metrics>, &Trace),
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (address, stop) = (args.health_addr, shutdown.clone());
    let (metrics, trace) = (metrics.clone(), trace.clone());
    // Its own state cannot be asked for while it is down, so it does not count.
    let part = health.register("health", Weight::Shown);
    let health = health.clone();
    tasks.spawn(supervise::keep_running(part, shutdown.clone(), move |part| {
        let shown =
            health::serve::Shown { health: health.clone(), metrics: metrics.clone(), trace: trace.clone() };
        let stop = stop.clone();
        async move {
            part.set(State::Up);
            health::serve::run(address, shown, stop).await
        }
    }));
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

fn http_context(
    args: &Args,
    (kubernetes, authority): (Kubernetes, PlaneAuthority),
    advertise: Advertise,
    loaders: Arc<LoaderStore>,
    (metrics, trace): (Arc<Metrics>, Trace),
    (servers, machines, edge): (Servers, Machines, Edge),
) -> http::serve::Context {
    let sidero = &args.options().sidero;
    let options = agent::serve::Options {
        auto_accept: sidero.auto_accept_servers,
        insecure_wipe: sidero.insecure_wipe,
        auto_bmc_setup: sidero.auto_bmc_setup,
        reboot_timeout: sidero.server_reboot_timeout.duration(),
    };
    let tokens = Tokens::new(kubernetes.clone(), sidero.require_agent_token);
    let (events, neighbours) = (events::Events::start(kubernetes.clone()), Neighbours::default());
    let means = agent::serve::Means {
        kubernetes: kubernetes.clone(),
        authority: authority.clone(),
        tokens: tokens.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        trace: trace.clone(),
        servers: servers.clone(),
        machines: machines.clone(),
        neighbours: neighbours.clone(),
    };
    let conflicts = Conflicts {
        kubernetes: kubernetes.clone(),
        servers: servers.clone(),
        events,
        metrics: metrics.clone(),
    };
    http::serve::Context {
        advertise,
        loaders,
        directories: Directories {
            environments: args.env_dir.clone(),
            agents: args.share_dir.join(AGENT_DIRECTORY),
        },
        agent: agent::serve::Service::new(means, options),
        kubernetes,
        authority,
        tokens,
        neighbours,
        servers,
        machines,
        conflicts,
        turns: Turns::new(http::ipxe::DECISIONS),
        boot_from_disk: sidero.boot_from_disk_method,
        extra_agent_args: sidero.extra_agent_kernel_args.as_str().into(),
        metrics,
        trace,
        edge,
    }
}

/// Interfaces by the roles that they were given.
fn selection(args: &Args) -> Selection {
    let ServiceOptions { provisioning_interfaces, management_interfaces, .. } = args.options();
    Selection { provisioning: provisioning_interfaces.clone(), management: management_interfaces.clone() }
}

/// Tells the services which networks are for provisioning, until `shutdown`.
async fn follow(
    mut interfaces: watch::Receiver<Vec<Interface>>,
    sources: Sources,
    shutdown: CancellationToken,
) {
    loop {
        sources.set_interfaces(&interfaces.borrow_and_update());
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = interfaces.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve_tftp(context: tftp::serve::Context, health: Health, shutdown: CancellationToken) {
    let part = health.register("tftp", Weight::Required);
    supervise::keep_running(part, shutdown, move |part| {
        let context = context.clone();
        async move {
            let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, tftp::serve::TFTP_PORT);
            let server = tftp::serve::Server::bind(address, context)?;
            part.set(State::Up);
            server.run().await
        }
    })
    .await;
}

async fn serve_http(port: u16, context: http::serve::Context, health: Health, shutdown: CancellationToken) {
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
