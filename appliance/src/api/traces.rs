//! `GET /v1/traces`: the boot services' record of every machine's way from DISCOVER to the agent, as it stands.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::App;
use super::refusal::Refusal;
use crate::identity::Caller;

/// The service that has them.
const BOOT_SERVICES: &str = "bootsvc";

pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Refusal> {
    if !caller.admin {
        return Err(Refusal::admin_certificate_required());
    }
    let neighbour = app.neighbours.iter().find(|neighbour| neighbour.name == BOOT_SERVICES);
    let neighbour = neighbour.ok_or_else(Refusal::not_found)?;
    let traces = neighbour.get("/traces").await.map_err(|error| Refusal::not_ready("boot traces", &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], traces))
}
