//! `/healthz`, `/readyz`, `/metrics` and `/traces` on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use bloomery_platform::health::serve;
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
    let Shown { health, metrics, trace } = shown;
    let parts = health.clone();
    let others = Router::new()
        .route("/metrics", get(async move || metrics.render() + &parts.metrics("bootsvc")))
        .route("/traces", get(async move || Json(trace.report())));
    serve(listener, health, others, shutdown).await.map_err(HealthError::Serve)
}
