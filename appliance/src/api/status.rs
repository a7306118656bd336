//! `GET /v1/status`: PID 1's status file as it stands.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::io::AsyncReadExt as _;

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;

/// PID 1 bounds what it writes far below this.
const MAX_STATUS_BYTES: u64 = 1 << 20;

pub(super) async fn handle(State(app): State<Arc<App>>, _: Admin) -> Result<impl IntoResponse, Refusal> {
    let status = read(&app).await.map_err(|error| Refusal::not_ready("status", &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], status))
}

async fn read(app: &App) -> io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(&app.files.status).await?;
    let mut status = Vec::new();
    file.take(MAX_STATUS_BYTES).read_to_end(&mut status).await?;
    Ok(status)
}
