//! `/healthz`, `/readyz`, `/metrics` and `/traces` on loopback.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use bloomery_platform::health::serve;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Health;
use crate::edge::Edge;

#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error("failed to bind health address {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("failed to serve health")]
    Serve(#[source] std::io::Error),
}

/// Serves `address` until `shutdown`.
pub async fn run(
    address: SocketAddr,
    health: Health,
    Edge { metrics, trace, .. }: Edge,
    shutdown: CancellationToken,
) -> Result<(), HealthError> {
    let listener =
        TcpListener::bind(address).await.map_err(|source| HealthError::Bind { address, source })?;
    let parts = health.clone();
    let others = Router::new()
        .route("/metrics", get(async move || metrics.render() + &parts.metrics("bootsvc")))
        .route("/traces", get(async move || Json(trace.report())));
    serve(listener, health, others, shutdown).await.map_err(HealthError::Serve)
}
