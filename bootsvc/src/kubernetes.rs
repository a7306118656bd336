//! The connection to the Kubernetes API: made when it can be, watched, never waited for by a service.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::{Part, State};

/// How often the API is asked whether it is ready; also how soon a first kubeconfig is noticed.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for one answer; iPXE gives a server about twenty seconds before it goes on.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// No client could be made.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("failed to read kubeconfig {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    #[error("failed to set up the Kubernetes client")]
    Client(#[source] Box<kube::Error>),
    #[error("failed to get an answer from the Kubernetes API")]
    Ready(#[source] Box<kube::Error>),
    #[error("failed to get an answer from the Kubernetes API in time")]
    Timeout,
}

/// Gives out the client, once there is one.
#[derive(Clone)]
pub struct Kubernetes {
    client: watch::Receiver<Option<Client>>,
}

impl Kubernetes {
    /// Access through a client that exists already.
    pub fn with_client(client: Client) -> Self {
        Self::new(watch::channel(Some(client)).1)
    }

    /// Access that never comes about, as when the API is away from the start.
    pub fn unreachable() -> Self {
        Self::new(watch::channel(None).1)
    }

    fn new(client: watch::Receiver<Option<Client>>) -> Self {
        Self { client }
    }

    /// The client; none before the first kubeconfig was read.
    pub fn client(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    /// The clients as they come.
    pub fn clients(&self) -> watch::Receiver<Option<Client>> {
        self.client.clone()
    }
}

/// Makes the client from `kubeconfig` (none: the pod's service account), makes it anew when the
/// file changes, and reports in `part` whether the API answers.
pub fn connect(kubeconfig: Option<PathBuf>, part: Part, shutdown: CancellationToken) -> Kubernetes {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut made_from = Version::None;
        loop {
            let state = match check(kubeconfig.as_deref(), &mut made_from, &sender).await {
                Ok(()) => State::Up,
                Err(error) => State::Down(bloomery_base::chain(&error)),
            };
            if part.set(state.clone()) {
                match &state {
                    State::Down(error) => tracing::warn!(
                        error,
                        "kubernetes api away: scripts are not decided, files are served"
                    ),
                    State::Up | State::Starting => tracing::info!("kubernetes api reachable"),
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
        }
    });
    Kubernetes::new(receiver)
}

/// State of the kubeconfig that a client was made from.
#[derive(Debug, PartialEq, Eq)]
enum Version {
    /// No client was made.
    None,
    /// There is no file, or it tells no time.
    Undated,
    /// The file of this time.
    Modified(SystemTime),
}

impl Version {
    fn of(kubeconfig: Option<&Path>) -> Self {
        kubeconfig
            .and_then(|path| std::fs::metadata(path).ok())
            .and_then(|metadata| metadata.modified().ok())
            .map_or(Self::Undated, Self::Modified)
    }
}

async fn check(
    source: Option<&Path>,
    made_from: &mut Version,
    sender: &watch::Sender<Option<Client>>,
) -> Result<(), ConnectError> {
    let version = Version::of(source);
    let known = sender.borrow().clone();
    let client = match known {
        Some(client) if *made_from == version => client,
        _ => {
            let client = make(source).await?;
            sender.send_replace(Some(client.clone()));
            *made_from = version;
            client
        }
    };
    match tokio::time::timeout(ANSWER_WITHIN, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ConnectError::Ready(Box::new(error))),
        Err(_) => Err(ConnectError::Timeout),
    }
}

async fn make(source: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match source {
        Some(path) => {
            let read = |source| ConnectError::Read { path: path.to_owned(), source: Box::new(source) };
            let kubeconfig = Kubeconfig::read_from(path).map_err(read)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(read)?
        }
        None => Config::infer()
            .await
            .map_err(|error| ConnectError::Client(Box::new(kube::Error::InferConfig(error))))?,
    };
    config.connect_timeout = Some(ANSWER_WITHIN);
    config.read_timeout = Some(ANSWER_WITHIN);
    config.write_timeout = Some(ANSWER_WITHIN);
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}
