//! `GET /healthz` and `GET /readyz`. They say yes or no and nothing else: anyone may ask.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use bloomery_pairing::local::{self, Answer, Question};

use super::App;
use crate::identity;

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Pairing would work: PID 1 answers and has the secret, and the list of pairings can be read.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    let authority = local::ask(&app.files.authority, &Question::Ready).await;
    let list = identity::check(&app.files.client_ca).is_ok();
    if matches!(authority, Ok(Answer::Ok)) && list {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
