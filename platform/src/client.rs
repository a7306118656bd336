//! The connection to the Kubernetes API.
//!
//! A client is made once and lives as long as the process: behind it the connection is made anew when the kubeconfig
//! changes. Requests come in two classes with room of their own, so that a burst of background work never holds up a
//! decision about a machine.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::{info, warn};

use crate::health::{Part, State};
use crate::{chain, growing};

/// First delay between two tries: a local API server that is starting answers within seconds.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Longest delay between two tries: short, because everything waits for it and it costs nothing.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How soon a changed kubeconfig counts.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a program that goes on without the API asks whether it is there.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Where the identity and the address of the API server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file; the environment does not count.
    Kubeconfig(PathBuf),
    /// The service account of the pod.
    InCluster,
}

impl From<Option<PathBuf>> for Source {
    fn from(kubeconfig: Option<PathBuf>) -> Self {
        kubeconfig.map_or(Self::InCluster, Self::Kubeconfig)
    }
}

/// What one program may ask of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests at once that a decision about a machine waits for.
    pub urgent: usize,
    /// All other requests at once.
    pub background: usize,
    /// Longest wait for the whole answer to one request, of a watch for its beginning.
    pub answer_within: Duration,
}

/// The clients of one connection.
#[derive(Clone)]
pub struct Clients {
    /// For what a decision about a machine waits for, and for finishing what was begun.
    pub urgent: Client,
    /// For everything else.
    pub background: Client,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to read kubeconfig {}", path.display())]
    Read { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    /// This is no pod, or one without a service account.
    #[error("failed to read the service account of the pod")]
    ServiceAccount(#[source] kube::config::InClusterError),
    #[error("failed to set up the Kubernetes client")]
    Client(#[source] Box<kube::Error>),
}

/// No whole answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("failed to get an answer from the Kubernetes API within {} s", .0.as_secs())]
struct Late(Duration);

/// Makes the clients. Does not connect yet.
pub async fn connect(source: Source, limits: Limits) -> Result<Clients, Error> {
    let Limits { urgent, background, answer_within } = limits;
    let made = make(&source, answer_within).await?;
    let namespace = made.default_namespace().to_owned();
    let version = Version::of(&source).await;
    let current = Current { client: made, version, looked: Instant::now() };
    let connection = Arc::new(Connection { source, answer_within, current: Mutex::new(current) });
    let client = |at_once| {
        let connection = Arc::clone(&connection);
        let service = tower::service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { connection.send(request).await }
        });
        let limit = GlobalConcurrencyLimitLayer::new(at_once);
        ClientBuilder::new(service, namespace.clone()).with_layer(&limit).build()
    };
    Ok(Clients { urgent: client(urgent), background: client(background) })
}

/// What both clients of a program send through.
struct Connection {
    source: Source,
    answer_within: Duration,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    version: Version,
    looked: Instant,
}

impl Connection {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let client = self.client().await;
        let is_watch = is_watch(&request);
        let exchange = async {
            let (head, body) = client.send(request).await?.into_parts();
            let body = if is_watch { body } else { body.collect_bytes().await?.into() };
            Ok(Response::from_parts(head, body))
        };
        let late = |_| kube::Error::Service(Box::new(Late(self.answer_within)));
        tokio::time::timeout(self.answer_within, exchange).await.map_err(late)?
    }

    async fn client(&self) -> Client {
        let mut current = self.current.lock().await;
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let version = Version::of(&self.source).await;
            if version != current.version {
                match make(&self.source, self.answer_within).await {
                    Ok(client) => {
                        info!("kubeconfig changed: the connection to the Kubernetes API is made anew");
                        (current.client, current.version) = (client, version);
                    }
                    Err(error) => warn!(error = chain(&error), "changed kubeconfig not used"),
                }
            }
        }
        current.client.clone()
    }
}

/// A watch lives for minutes; every other request is under way until its answer was read whole.
fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// State of the file that a client was made from.
#[derive(Debug, PartialEq, Eq)]
enum Version {
    /// There is no file, or it tells no time.
    Undated,
    /// The file of this time.
    Modified(SystemTime),
}

impl Version {
    async fn of(source: &Source) -> Self {
        // The files of a service account are read anew by kube.
        let Source::Kubeconfig(path) = source else { return Self::Undated };
        let metadata = tokio::fs::metadata(path).await;
        metadata.and_then(|metadata| metadata.modified()).map_or(Self::Undated, Self::Modified)
    }
}

async fn make(source: &Source, connect_within: Duration) -> Result<Client, Error> {
    let mut config = match source {
        Source::Kubeconfig(path) => from_kubeconfig(path).await?,
        Source::InCluster => Config::incluster().map_err(Error::ServiceAccount)?,
    };
    config.connect_timeout = Some(connect_within);
    config.write_timeout = Some(connect_within);
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

async fn from_kubeconfig(path: &Path) -> Result<Config, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

/// Delays between tries of the API server, growing and without end.
pub fn delays() -> impl Iterator<Item = Duration> {
    growing(FIRST_DELAY, LONGEST_DELAY)
}

/// Waits until the API server answers. Logs the first failure and then one in ten.
pub async fn wait_for_api(client: &Client) {
    for (attempt, delay) in delays().enumerate() {
        match client.apiserver_version().await {
            Ok(version) => {
                info!(version = %version.git_version, attempt, "API server answers");
                return;
            }
            Err(error) if attempt % 10 == 0 => {
                warn!(attempt, error = chain(&error), "waiting for the API server");
            }
            Err(_) => {}
        }
        tokio::time::sleep(delay).await;
    }
}

/// Gives out the client, once there is one: for programs that go on without the API.
#[derive(Clone)]
pub struct Kubernetes {
    urgent: watch::Receiver<Option<Client>>,
    background: watch::Receiver<Option<Client>>,
}

impl Kubernetes {
    /// Access through a client that exists already.
    pub fn with_client(client: Client) -> Self {
        let receiver = watch::channel(Some(client)).1;
        Self { urgent: receiver.clone(), background: receiver }
    }

    /// Access that never comes about, as when the API is away from the start.
    pub fn unreachable() -> Self {
        let receiver = watch::channel(None).1;
        Self { urgent: receiver.clone(), background: receiver }
    }

    /// Makes the client as soon as it can be made, and reports in `part` whether the API answers, until `shutdown`.
    pub fn connect(source: Source, limits: Limits, part: Part, shutdown: CancellationToken) -> Self {
        let ((urgent, urgents), (background, backgrounds)) = (watch::channel(None), watch::channel(None));
        let connecting = async move {
            let clients = loop {
                match connect(source.clone(), limits).await {
                    Ok(clients) => break clients,
                    Err(error) => report(&part, State::Down(chain(&error))),
                }
                tokio::time::sleep(CHECK_EVERY).await;
            };
            urgent.send_replace(Some(clients.urgent.clone()));
            background.send_replace(Some(clients.background));
            loop {
                let state = match clients.urgent.apiserver_version().await {
                    Ok(_) => State::Up,
                    Err(error) => State::Down(chain(&error)),
                };
                report(&part, state);
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        tokio::spawn(async move {
            // Ends by the stop alone.
            let _: Option<Infallible> = shutdown.run_until_cancelled(connecting).await;
        });
        Self { urgent: urgents, background: backgrounds }
    }

    /// The client; none before the first kubeconfig was read.
    pub fn client(&self) -> Option<Client> {
        self.urgent.borrow().clone()
    }

    /// The client for what nobody waits for.
    pub fn background(&self) -> Option<Client> {
        self.background.borrow().clone()
    }
}

fn report(part: &Part, state: State) {
    if part.set(state.clone()) {
        match state {
            State::Down(error) => warn!(error, "kubernetes api away"),
            State::Up | State::Starting => info!("kubernetes api reachable"),
        }
    }
}

#[cfg(test)]
mod tests;
