//! The connection to the API server: made from a kubeconfig, and waited for.
//!
//! Never guesses where the API server is: only the file given counts, not the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tracing::{info, warn};

use crate::error_chain::ErrorChain;

/// First delay between two tries: a local API server that is starting answers within seconds.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Longest delay between two tries: short, because everything waits for it and it costs nothing.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A connection on loopback or a local network that takes longer is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read.
    #[error("failed to read kubeconfig {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// The kubeconfig does not describe a usable connection.
    #[error("failed to make a client of kubeconfig {}", path.display())]
    Client {
        path: PathBuf,
        #[source]
        source: kube::Error,
    },
}

/// A client with the identity of a kubeconfig. Does not connect yet.
pub async fn from_kubeconfig(path: &Path) -> Result<Client, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(|source| Error::Client { path: path.to_owned(), source })
}

/// Delays between tries, growing and without end.
pub fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
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
                warn!(attempt, error = %ErrorChain(&error), "waiting for the API server");
            }
            Err(_) => {}
        }
        tokio::time::sleep(delay).await;
    }
}
