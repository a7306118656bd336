//! `/healthz`, `/readyz`, `/metrics` and `/traces` on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Health;
use crate::metrics::Metrics;
use crate::trace::Trace;

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The port is taken.
    #[error("failed to bind health address {address}")]
    Bind {
        /// Address and port.
        address: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("failed to serve health")]
    Serve(#[source] std::io::Error),
}

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    /// `/readyz`.
    pub health: Health,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
    /// `/traces`.
    pub trace: Trace,
}

/// Serves `address` until `shutdown`.
pub async fn run(address: SocketAddr, shown: Shown, shutdown: CancellationToken) -> Result<(), HealthError> {
    let listener =
        TcpListener::bind(address).await.map_err(|source| HealthError::Bind { address, source })?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/traces", get(|State(shown): State<Shown>| async move { Json(shown.trace.report()) }))
        .with_state(shown);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(HealthError::Serve)
}

async fn readyz(State(shared): State<Shown>) -> (StatusCode, String) {
    let ready = shared.health.is_ready();
    let (status, line) = if ready {
        (StatusCode::OK, "readyz check passed\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "readyz check failed\n")
    };
    (status, shared.health.report() + line)
}

async fn metrics_text(State(shared): State<Shown>) -> String {
    shared.metrics.render() + &shared.health.metrics()
}
