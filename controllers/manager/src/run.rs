//! `controllers run`: config → build → run → drain.
//!
//! Never outlives a part: when one ends that should not, the process ends, and its supervisor starts it anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::{Environment, ServerClass, plane};
use bloomery_config::{IpmiPxeMethod, SideroOptions};
use bloomery_plane::{Fencer, Gate, Ledger};
use bloomery_platform::chain;
use bloomery_platform::client;
use bloomery_platform::events::Recorder;
use bloomery_platform::health::{self, Health, State, Weight};
use bloomery_platform::watch::{Cache, Change, Feed, Watch, Watched};
use bloomery_power::http_api::Hooks;
use bloomery_power::{Config as PoolConfig, Network, Pool, PxeMode};
use bloomery_talosconfig::{Launcher, LauncherError};
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bootstrap::{self, TALOS_CONFIGS, talos_config};
use crate::cli::RunOptions;
use crate::controlplane::{self, CONTROL_PLANES};
use crate::environment::demand::Demand;
use crate::fleet::Fleet;
use crate::infrastructure::inventory::Inventory;
use crate::infrastructure::{
    self, METAL_CLUSTERS, METAL_MACHINE_TEMPLATES, METAL_MACHINES, metal_cluster, metal_machine,
    metal_machine_template,
};
use crate::metadata::{self, CONFIGURATIONS};
use crate::metrics::{Metrics, PowerCalls};
use crate::reconcile::{COMPONENT, Context, Frame};
use crate::reserved_objects;
use crate::table::{BINDINGS, CLASSES, Definition, ENVIRONMENTS, SERVERS, Table};
use crate::watch::{self, GuardedBinding, GuardedServer};
use crate::webhook::{self, Webhook, tls::ReloadedCertificate};
use crate::workload::Workloads;
use crate::{environment, fence, server, server_class};

/// Time for work under way when told to stop; less than what a supervisor allows before SIGKILL.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// Time for events after that.
const EVENTS_LIMIT: Duration = Duration::from_secs(1);

/// Between two times that the memory which bursts left free goes back to the kernel.
const GIVE_BACK_EACH: Duration = Duration::from_mins(1);

/// The part that is up once the Environments and the class that are always there are.
const DEFAULTS: &str = "defaults";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to connect")]
    Client(#[source] client::Error),
    #[error("failed to load the webhook certificate")]
    Certificate(#[source] webhook::tls::Error),
    /// Nobody knows who this plane is.
    #[error("failed to find out whether this plane may act")]
    Plane(#[source] bloomery_plane::Error),
    #[error("failed to listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("failed to wait for signals")]
    Signals(#[source] std::io::Error),
    #[error("failed to keep {part} running")]
    PartEnded { part: &'static str },
}

/// This program once more, as what starts Talos's library. To be called before this process confines itself.
pub fn launcher(options: &RunOptions) -> Result<Launcher, LauncherError> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg("talosconfig-launcher").arg(&options.talosconfig);
    Launcher::start(command)
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: &RunOptions, launcher: Launcher) -> Result<(), Error> {
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let (health, metrics, table) = (Health::default(), Arc::new(Metrics::default()), Table::default());
    let mut parts = JoinSet::new();
    if options.webhooks_only {
        answer(options, (&health, &metrics, &table), &stop, &mut parts).await?;
        return drive(parts, &stop).await;
    }
    let source = options.kubeconfig.clone().into();
    let clients = client::connect(source, crate::LIMITS).await.map_err(Error::Client)?;
    let source = options.kubeconfig.clone().into();
    let claims = client::connect(source, crate::CLAIMS).await.map_err(Error::Client)?.urgent;
    let told = clients.background.clone();
    let (events, written) = Recorder::start(COMPONENT, plane::reference(), move || Some(told.clone()));
    health.expect([SERVERS.name, BINDINGS.name, CLASSES.name, ENVIRONMENTS.name, DEFAULTS]);
    health.expect([METAL_MACHINES.name, METAL_CLUSTERS.name, METAL_MACHINE_TEMPLATES.name]);
    health.expect([TALOS_CONFIGS.name, CONTROL_PLANES.name, CONFIGURATIONS.name]);
    answer(options, (&health, &metrics, &table), &stop, &mut parts).await?;

    let reached = stop.run_until_cancelled(client::wait_for_api(&clients.urgent)).await;
    if reached.is_some() {
        let (established, gate) =
            bloomery_plane::establish(&clients.urgent, &options.plane_dir).await.map_err(Error::Plane)?;
        let gate = gate.accepting_any_contents(options.options.get().sidero.auto_accept_non_empty);
        let plane = ThisPlane { gate, ledger: established.ledger(), fencer: established.fencer() };
        let (api, token) = (clients.urgent.clone(), stop.clone());
        parts.spawn(async move {
            Box::pin(bloomery_plane::keep(&api, established, token)).await;
            "plane"
        });
        let talos = bloomery_talosconfig::Client::new(launcher, bloomery_talosconfig::Limits::default());
        let mut context = Context::new(clients, events, metrics, talos);
        context.claims = claims;
        let shared = Shared { context, health, table };
        start_controllers(options, &shared, plane, &stop, &mut parts);
    }
    let token = stop.clone();
    parts.spawn(async move {
        token.run_until_cancelled(give_memory_back()).await;
        "memory"
    });
    let driven = drive(parts, &stop).await;
    if tokio::time::timeout(EVENTS_LIMIT, written).await.is_err() {
        warn!("stopping with events that were not recorded");
    }
    driven
}

/// glibc keeps what was needed at the busiest moment (DESIGN.md §7).
async fn give_memory_back() {
    loop {
        tokio::time::sleep(GIVE_BACK_EACH).await;
        if let Err(error) = tokio::task::spawn_blocking(bloomery_sys::memory::give_back).await {
            warn!(%error, "failed to give memory back to the kernel");
        }
    }
}

/// Starts what others ask: health and webhooks. The webhooks are up before anything asks the API server for an object.
async fn answer(
    options: &RunOptions,
    (health, metrics, table): (&Health, &Arc<Metrics>, &Table),
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) -> Result<(), Error> {
    let certificate = ReloadedCertificate::load(&options.webhook_cert_dir).map_err(Error::Certificate)?;
    let health_listener = listen(options.health_addr).await?;
    let listener = listen(SocketAddr::new(options.webhook_bind, options.webhook_port)).await?;
    let routes = metrics.routes().merge(table.routes());
    let (state, token) = (health.clone(), stop.clone());
    parts.spawn(async move {
        if let Err(error) = health::serve(health_listener, state, routes, token).await {
            error!(error = chain(&error), "health server failed");
        }
        "health"
    });
    let webhook = Webhook { listener, certificate, metrics: metrics.clone() };
    let (part, token) = (health.register("webhook", Weight::Required), stop.clone());
    parts.spawn(async move {
        part.set(State::Up);
        if let Err(error) = webhook::serve(webhook, token).await {
            error!(error = chain(&error), "webhook server failed");
        }
        "webhook"
    });
    info!(webhook = options.webhook_port, health = %options.health_addr, "listening");
    Ok(())
}

struct Shared {
    context: Context,
    health: Health,
    table: Table,
}

/// The one watch of each kind, before it runs, with what follows from it at once. The API server decodes each change once
/// for every watch: a controller subscribes here in place of a watch of its own.
pub struct Watches {
    pub servers: Watch<GuardedServer>,
    pub bindings: Watch<GuardedBinding>,
    pub classes: Watch<DeserializeGuard<ServerClass>>,
    pub environments: Watch<DeserializeGuard<Environment>>,
    /// What Servers have in common, always as far as their cache.
    pub fleet: Fleet,
    /// Names of Servers that changes of others concern.
    pub concerned: UnboundedReceiver<String>,
    /// Whether somebody needs the Environments that are fetched on demand.
    pub demand: Demand,
}

impl Watches {
    /// What Servers have in common is seen before any controller hears of a change.
    pub fn new(client: &Client) -> Self {
        let mut servers: Watch<GuardedServer> = Watch::new(Api::all(client.clone()));
        let mut bindings: Watch<GuardedBinding> = Watch::new(Api::all(client.clone()));
        let (fleet, concerned) = Fleet::new(servers.feed.cache());
        let demand = Demand::default();
        let (seeing, needing) = (fleet.clone(), demand.clone());
        servers.feed.observe(move |change| {
            if let Change::Applied(server) = change {
                needing.see(server.as_ref());
            }
            seeing.see_server(change);
        });
        let seeing = fleet.clone();
        bindings.feed.observe(move |change| seeing.see_binding(change));
        let classes = Watch::new(Api::all(client.clone()));
        let environments = Watch::new(Api::all(client.clone()));
        Self { servers, bindings, classes, environments, fleet, concerned, demand }
    }
}

/// What this plane is, for those that act for it.
struct ThisPlane {
    gate: Gate,
    ledger: Option<Ledger>,
    fencer: Fencer,
}

fn start_controllers(
    options: &RunOptions,
    shared: &Shared,
    ThisPlane { gate, ledger, fencer }: ThisPlane,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) {
    let Shared { context, health, table } = shared;
    let frame = |definition| Frame::new(context.clone(), table.add(definition));
    let Watches { mut servers, mut bindings, mut classes, mut environments, fleet, concerned, demand } =
        Watches::new(&context.client);
    let (changed, touched) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    watch::wake(&mut servers.feed, &changed);
    watch::wake(&mut servers.feed, &touched);
    watch::wake(&mut bindings.feed, &touched);
    let (all, bound) = (servers.feed.cache(), bindings.feed.cache());

    let watched = fence::Watched { servers: all.clone(), bindings: bound.clone(), touched };
    let (common, acting, token) = (context.clone(), gate.clone(), stop.clone());
    parts.spawn(async move {
        Box::pin(fence::run(common, acting, fencer, watched, token)).await;
        "fence"
    });
    let sweep = server::age::Sweep::new(context.clone(), gate.clone(), all.clone(), fleet.clone());
    let token = stop.clone();
    parts.spawn(async move {
        Box::pin(sweep.run(token)).await;
        "age"
    });
    let work = server::orphan::controller(
        frame(&BINDINGS),
        gate.clone(),
        &mut bindings.feed,
        &mut servers.feed,
        stop.clone(),
    );
    start(parts, &BINDINGS, health, bound.clone(), work);
    let inventory = Inventory::default();
    inventory.follow(&mut servers.feed, &mut bindings.feed);
    let mut provider = infrastructure::Watches::new(&context.client);
    let workloads = Arc::new(Workloads::default());
    let inputs = metal_machine::Inputs {
        gate: gate.clone(),
        fleet: fleet.clone(),
        inventory,
        servers: all.clone(),
        bindings: &mut bindings.feed,
        classes: classes.feed.cache(),
        workloads: Arc::clone(&workloads),
    };
    start_infrastructure(shared, inputs, &mut provider, stop, parts);
    let mut configurations = start_configurations(
        metadata::Inputs {
            gate: gate.clone(),
            sidero: &options.options.get().sidero,
            servers: &mut servers.feed,
            bindings: &mut bindings.feed,
            classes: &mut classes.feed,
            provider: &mut provider,
        },
        shared,
        stop,
        parts,
    );
    let mut bootstrap = bootstrap::Watches::new(&context.client);
    let work = talos_config::controller(
        frame(&TALOS_CONFIGS),
        gate.clone(),
        &mut bootstrap,
        &mut configurations.data.feed,
        &mut provider,
        stop.clone(),
    );
    start(parts, &TALOS_CONFIGS, health, bootstrap.configs.feed.cache(), work);
    let control_planes = start_control_planes(shared, gate.clone(), workloads, &mut provider, stop, parts);
    let inputs =
        server::Inputs { servers: &mut servers.feed, bindings: &mut bindings.feed, fleet, concerned };
    let options_of_servers = servers_options(options, gate, ledger, context.metrics());
    let work = server::controller(frame(&SERVERS), options_of_servers, inputs, stop.clone());
    start(parts, &SERVERS, health, all.clone(), work);
    let work = server_class::controller(frame(&CLASSES), all, &mut classes.feed, changed, stop.clone());
    start(parts, &CLASSES, health, classes.feed.cache(), work);
    let assets = environment::Options {
        directory: options.env_dir.clone(),
        assets: options.assets_dir.clone(),
        extra_ca: options.extra_ca_file.clone(),
    };
    let work =
        environment::controller(frame(&ENVIRONMENTS), assets, demand, &mut environments.feed, stop.clone());
    start(parts, &ENVIRONMENTS, health, environments.feed.cache(), work);
    keep_defaults(shared, &mut classes.feed, &mut environments.feed, stop, parts);
    let token = stop.clone();
    parts.spawn(async move {
        let watching = async {
            let own =
                async { futures::join!(servers.run(), bindings.run(), classes.run(), environments.run()) };
            let others =
                async { futures::join!(bootstrap.run(), configurations.run(), control_planes.run()) };
            futures::join!(own, provider.run(), others);
        };
        token.run_until_cancelled(Box::pin(watching)).await;
        "watches"
    });
}

/// The objects that are always there.
fn keep_defaults(
    Shared { context, health, .. }: &Shared,
    classes: &mut Feed<DeserializeGuard<ServerClass>>,
    environments: &mut Feed<DeserializeGuard<Environment>>,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) {
    let reserved = (classes.subscribe(), environments.subscribe());
    let (client, token, part) =
        (context.client.clone(), stop.clone(), health.register(DEFAULTS, Weight::Required));
    parts.spawn(async move {
        let up = || {
            part.set(State::Up);
        };
        Box::pin(reserved_objects::keep_defaults(client, reserved, token, up)).await;
        "defaults"
    });
}

/// The infrastructure provider: clusters, machines and their templates.
fn start_infrastructure(
    Shared { context, health, table }: &Shared,
    inputs: metal_machine::Inputs<'_>,
    provider: &mut infrastructure::Watches,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) {
    let frame = |definition| Frame::new(context.clone(), table.add(definition));
    let (gate, servers, classes) = (inputs.gate.clone(), inputs.servers.clone(), inputs.classes.clone());
    let work = metal_machine::controller(frame(&METAL_MACHINES), inputs, provider, stop.clone());
    start(parts, &METAL_MACHINES, health, provider.metal_machines.feed.cache(), work);
    let work =
        metal_cluster::controller(frame(&METAL_CLUSTERS), gate, servers.clone(), provider, stop.clone());
    start(parts, &METAL_CLUSTERS, health, provider.metal_clusters.feed.cache(), work);
    let frame = frame(&METAL_MACHINE_TEMPLATES);
    let work = metal_machine_template::controller(frame, servers, classes, provider, stop.clone());
    start(parts, &METAL_MACHINE_TEMPLATES, health, provider.templates.feed.cache(), work);
}

/// The metadata controller, and the rights of the boot services that follow from what it makes; the watches are to be run.
fn start_configurations(
    inputs: metadata::Inputs<'_>,
    shared: &Shared,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) -> metadata::Watches {
    let Shared { context, health, table } = shared;
    let mut watches = metadata::Watches::new(&context.client);
    let touched = Arc::new(Notify::new());
    watch::wake(&mut watches.rendered.feed, &touched);
    watch::wake(inputs.bindings, &touched);
    let (common, gate, token) = (context.clone(), inputs.gate.clone(), stop.clone());
    let (rendered, bindings) = (watches.rendered.feed.cache(), inputs.bindings.cache());
    parts.spawn(async move {
        Box::pin(metadata::keep_grant(common, gate, rendered, bindings, touched, token)).await;
        "grant"
    });
    let bindings = inputs.bindings.cache();
    let frame = Frame::new(context.clone(), table.add(&CONFIGURATIONS));
    let work = metadata::controller(frame, inputs, &mut watches, stop.clone());
    start(parts, &CONFIGURATIONS, health, bindings, work);
    watches
}

/// The control-plane provider; its watches are to be run.
fn start_control_planes(
    Shared { context, health, table }: &Shared,
    gate: Gate,
    workloads: Arc<Workloads>,
    provider: &mut infrastructure::Watches,
    stop: &CancellationToken,
    parts: &mut JoinSet<&'static str>,
) -> controlplane::Watches {
    let mut watches = controlplane::Watches::new(&context.client);
    let frame = Frame::new(context.clone(), table.add(&CONTROL_PLANES));
    let work = controlplane::controller(frame, gate, workloads, &mut watches, provider, stop.clone());
    start(parts, &CONTROL_PLANES, health, watches.control_planes.feed.cache(), work);
    watches
}

/// The options of the Server controller, with the pool of all management controllers.
fn servers_options(
    options: &RunOptions,
    gate: Gate,
    ledger: Option<Ledger>,
    metrics: Arc<Metrics>,
) -> server::Options {
    let SideroOptions {
        server_reboot_timeout,
        ipmi_pxe_method,
        test_power_simulated_explicit_failure_prob: explicit,
        test_power_simulated_silent_failure_prob: silent,
        ..
    } = options.options.get().sidero.clone();
    let reboot_timeout = server_reboot_timeout.duration();
    let network = Network { hooks: Hooks { explicit, silent, ..Hooks::default() }, ..Network::default() };
    let observer = Arc::new(PowerCalls(metrics));
    let pxe_mode = match ipmi_pxe_method {
        IpmiPxeMethod::Uefi => PxeMode::Uefi,
        IpmiPxeMethod::Bios => PxeMode::Bios,
    };
    let pool = Pool::new(PoolConfig::default(), observer, Arc::new(network));
    server::Options { gate, pool, reboot_timeout, pxe_mode, ledger }
}

/// Runs a controller; its part is ready once its objects were listed.
fn start<K: Watched>(
    parts: &mut JoinSet<&'static str>,
    definition: &'static Definition,
    health: &Health,
    cache: Cache<K>,
    work: impl Stream<Item = ()> + Send + 'static,
) {
    let part = health.register(definition.name, Weight::Required);
    parts.spawn(async move {
        let listed = async {
            cache.until_listed().await;
            part.set(State::Up);
        };
        futures::join!(listed, work.for_each(|()| futures::future::ready(())));
        definition.name
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
