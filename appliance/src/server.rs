//! Puts the parts together: configuration → listening sockets → run → drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{self, App};
use crate::asset_store::AssetStore;
use crate::config::Config;
use crate::connections::Connections;
use crate::metrics::Metrics;
use crate::serve::Listener;
use crate::tls::{self, ServerTls, TlsError, TlsFiles};

pub struct Appliance {
    public: Listener,
    health: Listener,
    files: TlsFiles,
    tls: watch::Sender<ServerTls>,
    metrics: Arc<Metrics>,
}

impl Appliance {
    /// Loads the certificate and opens both sockets.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let Config {
            listen,
            tls_cert,
            tls_key,
            client_ca,
            authority,
            status,
            assets_dir,
            health_addr,
            api_server_port,
            services,
        } = config;
        let files = TlsFiles { certificate: tls_cert, key: tls_key };
        let (tls, current) = watch::channel(files.load().map_err(|source| StartError::Tls { source })?);
        let metrics = Arc::new(Metrics::default());
        let (public_connections, health_connections) = (Connections::default(), Connections::default());
        let app = Arc::new(App::new(
            api::Files { authority, client_ca, status },
            AssetStore::new(assets_dir),
            api_server_port,
            current.clone(),
            public_connections.clone(),
            Arc::clone(&metrics),
            services,
        ));
        let public = Listener {
            tcp: listener(listen).await?,
            tls: Some(current),
            router: api::public(Arc::clone(&app)),
            connections: public_connections,
            metrics: Arc::clone(&metrics),
        };
        let health = Listener {
            tcp: listener(health_addr).await?,
            tls: None,
            router: api::health(app),
            connections: health_connections,
            metrics: Arc::clone(&metrics),
        };
        Ok(Self { public, health, files, tls, metrics })
    }

    /// The addresses of the public and of the health socket.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.tcp.local_addr()?, self.health.tcp.local_addr()?))
    }

    /// Serves until told to stop, then lets open requests finish.
    pub async fn run(self, stop: CancellationToken) {
        if let Ok((public, health)) = self.addresses() {
            tracing::info!(%public, %health, "listening");
        }
        tokio::join!(
            self.public.run(stop.clone()),
            self.health.run(stop.clone()),
            tls::reload(self.files, self.tls, self.metrics, stop),
        );
        tracing::info!("stopped");
    }
}

async fn listener(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to load the serving certificate")]
    Tls { source: TlsError },
    #[error("failed to listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
}
