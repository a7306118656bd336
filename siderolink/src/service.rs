//! All parts of the process, run.
//!
//! No part ends another: while the API is away, nodes that are known keep their tunnel, and their logs are taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bloomery_api::ServerBinding;
use bloomery_api::siderolink::{EVENT_PORT, LOG_PORT};
use bloomery_platform::client::{Kubernetes, Limits};
use bloomery_platform::health::{self, Health, Part, State, Weight};
use bloomery_platform::watch::{Change, Feed};
use bloomery_siderolink_api::MOST_OCTETS;
use boringtun::x25519;
use kube::core::DeserializeGuard;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Args, ConfigError, Implementation};
use crate::events;
use crate::installation::{self, Installation};
use crate::listen::{self, ListenError};
use crate::logs::Receiver;
use crate::logs::store::{self, Store};
use crate::nodes::Nodes;
use crate::plane::{Counters, Open, Plane};
use crate::provision::Provision;
use crate::tunnel::{Tunnel, TunnelError};
use bloomery_siderolink_api::link::provision_service_server::ProvisionServiceServer;

/// Requests at once, of the 60 that the API server takes.
const LIMITS: Limits = Limits { urgent: 12, background: 4, answer_within: Duration::from_secs(10) };
/// Until what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Calls for a tunnel at once: the boot services let no more through.
const MOST_CALLS: usize = 64;
/// Longest time of a call: a node waits for 30 s.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("failed to use the options")]
    Config(#[source] ConfigError),
    #[error("failed to open the machines' logs")]
    Logs(#[source] store::Error),
}

/// Why the tunnel does not carry.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CarryError {
    #[error("failed to open the tunnel")]
    Tunnel(#[source] TunnelError),
    #[error("failed to open the event sink or the log receiver")]
    Listen(#[source] ListenError),
}

/// Runs everything until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), StartError> {
    let filter = args.negative_filter().map_err(StartError::Config)?;
    let store = Store::open(&args.log_dir).map_err(StartError::Logs)?;
    let health = Health::default();
    let part = health.register("kubernetes", Weight::Shown);
    let kubernetes = Kubernetes::connect(args.kubeconfig.clone().into(), LIMITS, part, shutdown.clone());
    let plane = Arc::new(Plane {
        kubernetes: kubernetes.clone(),
        nodes: Nodes::default(),
        counters: Counters::default(),
        tunnel: Mutex::default(),
        open: watch::channel(None).0,
        endpoint_host: args.endpoint_host().to_owned(),
        port: args.sidero().wireguard_port,
    });
    let (installed, installation) = watch::channel(None);
    let feed = follow_bindings(&plane.nodes);
    let api = kubernetes.clone();
    let receiver = Receiver::new(plane.nodes.clone(), store, Arc::clone(&plane.counters.logs));
    let carry = Carry {
        plane: Arc::clone(&plane),
        sink: events::Sink::new(Arc::clone(&plane), filter),
        receiver,
        implementation: args.wireguard,
    };
    let work = async {
        tokio::join!(
            feed.run(move || api.background()),
            installation::follow(kubernetes, installed),
            carry.run(installation, health.register("tunnel", Weight::Required)),
            plane.follow(),
            serve_provision(args.provision_addr, &plane, health.register("provision", Weight::Required)),
            serve_health(args.health_addr, &plane, health.clone()),
        )
    };
    tracing::info!("started");
    tokio::select! {
        _ = work => {}
        () = shutdown.cancelled() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

fn follow_bindings(nodes: &Nodes) -> Feed<DeserializeGuard<ServerBinding>> {
    let mut feed = Feed::<DeserializeGuard<ServerBinding>>::default();
    let nodes = nodes.clone();
    feed.observe(move |change| match change {
        Change::Applied(binding) => match &binding.0 {
            Ok(binding) => nodes.note(Arc::new(binding.clone())),
            Err(invalid) => {
                let server = invalid.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(server, error = invalid.error, "ServerBinding cannot be read");
            }
        },
        Change::Deleted(binding) => match &binding.0 {
            Ok(binding) => nodes.forget(binding),
            Err(invalid) => {
                let gone = ServerBinding { metadata: invalid.metadata.clone(), ..ServerBinding::default() };
                nodes.forget(&gone);
            }
        },
        Change::Listed => nodes.set_listed(),
    });
    feed
}

/// What runs on an open tunnel.
struct Carry {
    plane: Arc<Plane>,
    sink: events::Sink,
    receiver: Receiver,
    implementation: Implementation,
}

impl Carry {
    /// Keeps a tunnel open for the installation, and another one once that changes.
    async fn run(&self, mut installation: watch::Receiver<Option<Installation>>, part: Part) {
        loop {
            let current = installation.borrow_and_update().clone();
            let Some(current) = current else {
                if installation.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let carried = tokio::select! {
                carried = self.carry(&current, &part) => carried,
                _ = installation.changed() => {
                    tracing::info!("the installation changed: the tunnel is opened anew");
                    self.close().await;
                    continue;
                }
            };
            self.close().await;
            if let Err(error) = carried {
                let error = bloomery_base::chain(&error);
                if part.set(State::Down(error.clone())) {
                    tracing::error!(error, "no tunnel");
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn carry(&self, installation: &Installation, part: &Part) -> Result<(), CarryError> {
        let Self { plane, sink, receiver, implementation } = self;
        let network = installation.network;
        plane.nodes.set_network(network);
        let tunnel = Tunnel::open(installation, plane.port, *implementation).await;
        *plane.tunnel.lock().await = Some(tunnel.map_err(CarryError::Tunnel)?);
        let events = listen::bind(network.server(), EVENT_PORT).map_err(CarryError::Listen)?;
        let logs = listen::bind(network.server(), LOG_PORT).map_err(CarryError::Listen)?;
        if plane.nodes.is_listed() {
            plane.sync().await.map_err(CarryError::Tunnel)?;
        }
        let private = x25519::StaticSecret::from(*installation.private_key);
        let public_key = x25519::PublicKey::from(&private).to_bytes();
        plane.open.send_replace(Some(Open { network, public_key }));
        part.set(State::Up);
        tokio::select! {
            never = sink.clone().serve(events) => match never {},
            never = receiver.clone().serve(logs) => match never {},
        }
    }

    async fn close(&self) {
        self.plane.open.send_replace(None);
        *self.plane.tunnel.lock().await = None;
    }
}

async fn serve_provision(address: SocketAddr, plane: &Arc<Plane>, part: Part) {
    loop {
        let served = async {
            let listener = TcpListener::bind(address).await.map_err(|error| error.to_string())?;
            part.set(State::Up);
            let server = ProvisionServiceServer::new(Provision(Arc::clone(plane)))
                .max_decoding_message_size(MOST_OCTETS);
            let incoming = futures::stream::unfold(listener, async |listener| {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                Some((accepted, listener))
            });
            tonic::transport::Server::builder()
                .timeout(CALL_WITHIN)
                .layer(tower::limit::GlobalConcurrencyLimitLayer::new(MOST_CALLS))
                .add_service(server)
                .serve_with_incoming(incoming)
                .await
                .map_err(|error| bloomery_base::chain(&error))
        };
        let ended: Result<(), String> = served.await;
        let error = ended.err().unwrap_or_default();
        if part.set(State::Down(error.clone())) {
            tracing::error!(%address, error, "calls for a tunnel not served");
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn serve_health(address: SocketAddr, plane: &Arc<Plane>, health: Health) {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let (parts, plane) = (health.clone(), Arc::clone(plane));
                let metrics = async move || plane.metrics() + &parts.metrics("siderolink");
                let others = Router::new().route("/metrics", get(metrics));
                let served = health::serve(listener, health.clone(), others, CancellationToken::new());
                if let Err(error) = served.await {
                    tracing::error!(%address, %error, "health not served");
                }
            }
            Err(error) => tracing::error!(%address, %error, "health not served"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
