//! The power API of Talos' QEMU provisioner, one port per machine.
//!
//! `POST /poweron`, `/poweroff`, `/reboot`, `/pxeboot` answer 200 with nothing; `GET /status` says whether it is on.

use super::{API_PORTS, Start};
use crate::{
    net::Process,
    switch::{Command, Switch},
};
use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{net::UnixListener, task::JoinHandle};

pub(super) async fn start(bmc: &Start<'_>) -> Result<(Vec<Process>, Vec<JoinHandle<()>>)> {
    let socket = format!("run/{}", bmc.name("api"));
    let listener = UnixListener::bind(bmc.dir.socket(&socket)).context("failed to make the API's socket")?;
    let routes = routes(Arc::clone(bmc.switch));
    let task = tokio::spawn(async move {
        // Serving a socket of our own does not end but with this task.
        let _ = axum::serve(listener, routes).await;
    });
    let port = (format!("{}:{}", bmc.address, bmc.port(API_PORTS)), socket);
    Ok((vec![bmc.join(&[port]).await?], vec![task]))
}

/// What has a power switch.
pub trait Switchable: Send + Sync + 'static {
    /// Obeys a command that came through the BMC.
    fn command(self: &Arc<Self>, command: Command) -> impl Future<Output = Result<()>> + Send;
    /// Whether it is on.
    fn is_on(&self) -> impl Future<Output = bool> + Send;
}

impl Switchable for Switch {
    async fn command(self: &Arc<Self>, command: Command) -> Result<()> {
        Self::command(self, command).await
    }

    async fn is_on(&self) -> bool {
        Self::is_on(self).await
    }
}

/// The API of one machine.
pub(crate) fn routes<S: Switchable>(switch: Arc<S>) -> Router {
    let order = |command: Command| {
        post(move |State(switch): State<Arc<S>>| async move { obey(&switch, command).await })
    };
    Router::new()
        .route("/poweron", order(Command::On))
        .route("/poweroff", order(Command::Off))
        .route("/reboot", order(Command::Cycle))
        .route("/pxeboot", order(Command::BootNetwork))
        .route("/status", get(status::<S>))
        .with_state(switch)
}

async fn obey<S: Switchable>(switch: &Arc<S>, command: Command) -> (StatusCode, String) {
    match switch.command(command).await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
    }
}

async fn status<S: Switchable>(State(switch): State<Arc<S>>) -> Json<Value> {
    Json(json!({ "PoweredOn": switch.is_on().await }))
}
