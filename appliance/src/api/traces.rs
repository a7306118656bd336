//! `GET /v1/traces`: the boot services' record of every machine's way from DISCOVER to the agent, as it stands.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;

/// The service that has them.
const BOOT_SERVICES: &str = "bootsvc";

pub(super) async fn handle(State(app): State<Arc<App>>, _: Admin) -> Result<impl IntoResponse, Refusal> {
    let neighbour = app.neighbours.iter().find(|neighbour| neighbour.name == BOOT_SERVICES);
    let neighbour = neighbour.ok_or_else(Refusal::not_found)?;
    let traces = neighbour.get("/traces").await.map_err(|error| Refusal::not_ready("boot traces", &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], traces))
}
