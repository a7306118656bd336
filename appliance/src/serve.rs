//! Accepts connections and serves HTTP/1.1 on them, with a bound on everything a client could withhold or
//! overdo: handshake, header, whole connection, number of connections.
//!
//! Nothing that a client does ends the loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::connections::{Connections, Slot};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::tls::ServerTls;

/// A TLS handshake; phones on bad networks need a second or two.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's header, also how long a connection may idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The whole connection, against clients that read their answers byte by byte.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(2);
/// Request line and headers together.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Pause after `accept` failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long open requests may take once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// One listening socket and what is served on it.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    /// None for plain HTTP, which is for loopback only.
    pub(crate) tls: Option<watch::Receiver<ServerTls>>,
    pub(crate) router: Router,
    pub(crate) connections: Connections,
    pub(crate) metrics: Arc<Metrics>,
}

impl Listener {
    /// Serves until told to stop, then lets open requests finish.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(self.tcp.accept()).await {
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &tracker, &stop),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        tracker.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
            tracing::warn!(connections = tracker.len(), "dropped connections that did not finish");
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, tracker: &TaskTracker, stop: &CancellationToken) {
        let Some(slot) = self.connections.admit(peer.ip().to_canonical()) else {
            self.metrics.connections_refused.increment();
            tracing::debug!(%peer, "refused a connection over the cap");
            return;
        };
        self.metrics.connections.increment();
        if slot.displaces {
            self.metrics.connections_displaced.increment();
        }
        let displaced = slot.displaced.clone();
        let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow().config)));
        let connection = Connection {
            peer,
            router: self.router.clone(),
            metrics: Arc::clone(&self.metrics),
            stop: stop.clone(),
            _slot: slot,
        };
        tracker.spawn(async move {
            let served = tokio::time::timeout(CONNECTION_LIFETIME, connection.run(stream, tls));
            match displaced.run_until_cancelled(served).await {
                Some(Ok(())) => {}
                Some(Err(_)) => tracing::debug!(%peer, "closed a connection that lived too long"),
                None => tracing::debug!(%peer, "closed a connection to make room"),
            }
        });
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    _slot: Slot,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are one small write each; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            let caller = Caller::new(self.peer.ip(), None);
            return self.serve(stream, caller).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
        match handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let caller = Caller::new(self.peer.ip(), stream.get_ref().1.peer_certificates());
                self.serve(stream, caller).await;
            }
            Err(error) => {
                self.metrics.handshakes_failed.increment();
                tracing::debug!(peer = %self.peer, %error, "failed to shake hands");
            }
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller) {
        let router = self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            router.clone().call(request.map(Body::new))
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %self.peer, %error, "closed a connection after an error");
        }
    }
}
