//! `POST /v1/pair`: the secret of the pairing code in, the admin identity out.
//!
//! The identity must never be handed out without the secret; the secret is compared in constant time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bloomery_pairing::wire::{AdminIdentity, PairRequest, PairResponse};

use super::App;
use super::refusal::Refusal;
use crate::identity::{self, Caller};

/// A real request has 30 bytes.
const MAX_BODY_BYTES: usize = 4 << 10;
/// Time for the body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Refusal> {
    let PairRequest { secret } = read_request(body).await?;
    let attempt = app.limit().take(caller.address, Instant::now()).map_err(|wait| {
        app.metrics.rate_limited.increment();
        tracing::debug!(address = %caller.address, "refused a pairing code unread");
        Refusal::too_many_wrong_codes(wait)
    })?;
    let expected = match bloomery_pairing::load(&app.files.pairing_secret) {
        Ok(expected) => expected,
        Err(error) => {
            app.limit().give_back(attempt);
            return Err(Refusal::not_ready("pairing secret", &error));
        }
    };
    if secret != expected {
        app.metrics.wrong_codes.increment();
        tracing::warn!(address = %caller.address, "refused a wrong pairing code");
        return Err(Refusal::wrong_code());
    }
    app.limit().give_back(attempt);
    let identity =
        identity::read(&app.files.admin).map_err(|error| Refusal::not_ready("admin identity", &error))?;
    app.metrics.paired.increment();
    tracing::info!(address = %caller.address, "handed out the admin identity");
    let AdminIdentity { certificate_authority, client_certificate, client_key } = identity;
    let answer = PairResponse {
        certificate_authority,
        client_certificate,
        client_key,
        api_server_port: app.api_server_port,
        server_names: app.tls.borrow().names.clone(),
    };
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn read_request(body: Body) -> Result<PairRequest, Refusal> {
    let body = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY_BYTES))
        .await
        .map_err(|_| Refusal::timeout())?
        // Either too large, or the connection broke and nobody will read this.
        .map_err(|_| Refusal::too_large(MAX_BODY_BYTES))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not {{\"secret\": \"…\"}}: {error}")))
}
