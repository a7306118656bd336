//! `GET /v1/traces` and `GET /v1/controllers`: the boot services' record of every machine's way from DISCOVER to the
//! agent, and the controllers' table, as they stand.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;

pub(super) async fn traces(State(app): State<Arc<App>>, _: Admin) -> Result<Response, Refusal> {
    pass_on(&app, "bootsvc", "/traces", "boot traces").await
}

pub(super) async fn controllers(State(app): State<Arc<App>>, _: Admin) -> Result<Response, Refusal> {
    pass_on(&app, "controllers", "/controllers", "table of controllers").await
}

async fn pass_on(app: &App, service: &str, path: &str, what: &'static str) -> Result<Response, Refusal> {
    let neighbour = app.neighbours.iter().find(|neighbour| neighbour.name == service);
    let answer = neighbour.ok_or_else(Refusal::not_found)?.get(path).await;
    let answer = answer.map_err(|error| Refusal::not_ready(what, &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], answer)
        .into_response())
}
