//! `POST /v1/pair`: the secret of the pairing code and a certificate request in, a certificate out.
//!
//! PID 1 checks every secret, in constant time and however many wrong ones came before: a right code is never refused
//! because of others. What is limited is the answers to wrong ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bloomery_pairing::local::{self, Answer, Issued, Question, Refused};
use bloomery_pairing::wire::{PairRequest, PairResponse};

use super::App;
use super::refusal::Refusal;
use crate::identity::Caller;

/// A real request has 600 bytes.
const MAX_BODY_BYTES: usize = 8 << 10;
/// Time for the body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Refusal> {
    let PairRequest { secret, csr, name } = read_request(body).await?;
    if csr.is_empty() {
        return Err(Refusal::bad_request(
            "this appliance signs certificate requests and hands out no keys; use the `bloomery` program of its version",
        ));
    }
    let question = Question::Pair { secret, csr, name, address: caller.address.to_string() };
    let answer = local::ask(&app.files.authority, &question)
        .await
        .map_err(|error| Refusal::not_ready("signing of certificates", &error))?;
    match answer {
        Answer::Issued(issued) => {
            app.metrics.paired.increment();
            tracing::info!(address = %caller.address, user = issued.user, "paired");
            Ok(certificate(&app, issued))
        }
        Answer::Refused { why: Refused::WrongSecret, .. } => {
            app.metrics.wrong_codes.increment();
            match app.limit.lock().count(caller.address, Instant::now()) {
                None => {
                    tracing::warn!(address = %caller.address, "refused a wrong pairing code");
                    Err(Refusal::wrong_code())
                }
                Some(wait) => {
                    app.metrics.rate_limited.increment();
                    Err(Refusal::too_many_wrong_codes(wait))
                }
            }
        }
        other => Err(Refusal::from_authority(other)),
    }
}

/// What a pairing or a renewal is answered with.
pub(super) fn certificate(app: &App, issued: Issued) -> Response {
    let Issued { certificate_authority, certificate, id, user, expires } = issued;
    let answer = PairResponse {
        certificate_authority,
        client_certificate: certificate,
        id,
        user,
        expires,
        api_server_port: app.api_server_port,
        server_names: app.tls.borrow().names.clone(),
    };
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a small JSON body in bounded time.
pub(super) async fn read_request<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY_BYTES))
        .await
        .map_err(|_| Refusal::timeout())?
        // Either too large, or the connection broke and nobody will read this.
        .map_err(|_| Refusal::too_large(MAX_BODY_BYTES))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not what this path takes: {error}")))
}
