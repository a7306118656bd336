//! The paths of both listeners; one file per path.

mod admin;
mod assets;
mod metrics;
mod neighbours;
mod pair;
mod pairings;
mod probes;
mod refusal;
mod services;
mod status;

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};
use bloomery_pairing::wire;
use tokio::sync::watch;

use crate::asset_store::AssetStore;
use crate::connections::Connections;
use crate::limit::WrongCodeLimit;
use crate::metrics::Metrics;
use crate::neighbours::Neighbour;
use crate::rights::RightsCache;
use crate::tls::ServerTls;
use refusal::Refusal;

/// The files that requests are answered from. They are read at each request: PID 1 may replace them.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) client_ca: PathBuf,
    pub(crate) status: PathBuf,
}

#[derive(Debug)]
pub(crate) struct App {
    files: Files,
    assets: AssetStore,
    api_server_port: u16,
    tls: watch::Receiver<ServerTls>,
    connections: Connections,
    metrics: Arc<Metrics>,
    neighbours: Vec<Neighbour>,
    limit: Mutex<WrongCodeLimit>,
    rights: RightsCache,
    waiting: services::Waiting,
}

impl App {
    pub(crate) fn new(
        files: Files,
        assets: AssetStore,
        api_server_port: u16,
        tls: watch::Receiver<ServerTls>,
        connections: Connections,
        metrics: Arc<Metrics>,
        neighbours: Vec<Neighbour>,
    ) -> Self {
        let limit = Mutex::new(WrongCodeLimit::default());
        Self {
            files,
            assets,
            api_server_port,
            tls,
            connections,
            metrics,
            neighbours,
            limit,
            rights: RightsCache::default(),
            waiting: services::Waiting::default(),
        }
    }
}

pub(crate) fn public(app: Arc<App>) -> Router {
    Router::new()
        .route(wire::PAIR_PATH, post(pair::handle))
        .route(wire::RENEW_PATH, post(pairings::renew))
        .route(wire::REISSUE_PATH, post(pairings::reissue))
        .route(wire::PAIRINGS_PATH, get(pairings::list))
        .route(&format!("{}/{{id}}", wire::PAIRINGS_PATH), delete(pairings::revoke))
        .route(wire::STATUS_PATH, get(status::handle))
        .route(&format!("{}/{{name}}/{{command}}", wire::SERVICES_PATH), post(services::tell))
        .route(&format!("{}/{{name}}/log", wire::SERVICES_PATH), get(services::log))
        .route(&format!("{}/{{name}}/log", wire::MACHINES_PATH), get(services::machine_log))
        .route(wire::TRACES_PATH, get(neighbours::traces))
        .route(wire::CONTROLLERS_PATH, get(neighbours::controllers))
        .route(wire::ASSETS_PATH, get(assets::list))
        .route(
            &format!("{}/{{name}}", wire::ASSETS_PATH),
            put(assets::piece).post(assets::complete).delete(assets::delete),
        )
        .route(wire::METRICS_PATH, get(metrics::for_admin))
        .route(wire::HEALTHZ_PATH, get(probes::healthz))
        .route(wire::READYZ_PATH, get(probes::readyz))
        .fallback(|| async { Refusal::not_found() })
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
        .with_state(app)
}

/// What PID 1 sees on loopback.
pub(crate) fn health(app: Arc<App>) -> Router {
    Router::new()
        .route(wire::METRICS_PATH, get(metrics::for_loopback))
        .route(wire::HEALTHZ_PATH, get(probes::healthz))
        .route(wire::READYZ_PATH, get(probes::readyz))
        .fallback(|| async { Refusal::not_found() })
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
        .with_state(app)
}
