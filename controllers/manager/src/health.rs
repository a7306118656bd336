//! Health, readiness and metrics over plain HTTP on loopback.
//!
//! Never reports ready before each part said so once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Content type of the Prometheus text format that `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What must be up before this process is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The conversion webhook answers.
    Webhook,
    /// Servers were listed.
    Servers,
    /// ServerBindings were listed.
    ServerBindings,
    /// ServerClasses were listed.
    ServerClasses,
    /// Environments were listed.
    Environments,
    /// `any` and `default` exist.
    Defaults,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] = [
        Self::Webhook,
        Self::Servers,
        Self::ServerBindings,
        Self::ServerClasses,
        Self::Environments,
        Self::Defaults,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Servers => "servers",
            Self::ServerBindings => "serverbindings",
            Self::ServerClasses => "serverclasses",
            Self::Environments => "environments",
            Self::Defaults => "defaults",
        }
    }
}

/// Which parts are up.
#[derive(Debug, Default)]
pub struct Readiness([AtomicBool; Part::ALL.len()]);

impl Readiness {
    /// Says that a part is up. It stays so: a later trouble shows in its own conditions and logs.
    pub fn set(&self, part: Part) {
        self.flag(part).store(true, Ordering::Relaxed);
    }

    /// True when all parts are up.
    pub fn is_ready(&self) -> bool {
        Part::ALL.iter().all(|part| self.flag(*part).load(Ordering::Relaxed))
    }

    /// One line for each part, as other Kubernetes components show it.
    pub fn report(&self) -> String {
        let line = |part: &Part| {
            let sign = if self.flag(*part).load(Ordering::Relaxed) { "[+]" } else { "[-]" };
            format!("{sign}{}\n", part.name())
        };
        Part::ALL.iter().map(line).collect()
    }

    fn flag(&self, part: Part) -> &AtomicBool {
        let [webhook, servers, bindings, classes, environments, defaults] = &self.0;
        match part {
            Part::Webhook => webhook,
            Part::Servers => servers,
            Part::ServerBindings => bindings,
            Part::ServerClasses => classes,
            Part::Environments => environments,
            Part::Defaults => defaults,
        }
    }
}

/// What the routes answer from.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Which parts are up.
    pub readiness: Arc<Readiness>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// Serves until the token is cancelled.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(health): State<Health>) -> Response {
    let code = if health.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, health.readiness.report()).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_every_part() {
        let readiness = Readiness::default();
        for part in Part::ALL {
            assert!(!readiness.is_ready());
            assert!(readiness.report().contains(&format!("[-]{}", part.name())));
            readiness.set(part);
        }
        assert!(readiness.is_ready());
        assert!(!readiness.report().contains("[-]"));
    }
}
