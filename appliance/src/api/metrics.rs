//! `GET /metrics`, for the admin on the network and for anyone on loopback.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::App;
use super::refusal::Refusal;
use crate::identity::Caller;

/// The Prometheus text exposition format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

pub(super) async fn for_admin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Refusal> {
    if caller.admin { Ok(render(&app)) } else { Err(Refusal::admin_certificate_required()) }
}

pub(super) async fn for_loopback(State(app): State<Arc<App>>) -> impl IntoResponse {
    render(&app)
}

fn render(app: &App) -> impl IntoResponse + use<> {
    let text = app.metrics.render(app.connections.open(), app.tls.borrow().expires);
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text)
}
