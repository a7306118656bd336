//! `GET /healthz` and `GET /readyz`. They say yes or no and nothing else: anyone may ask.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use crate::identity;

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Pairing would work: the secret and the admin identity are there and whole.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    let secret = bloomery_pairing::load(&app.files.pairing_secret).is_ok();
    let identity = identity::read(&app.files.admin).is_ok();
    if secret && identity {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
