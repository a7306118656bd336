//! Refusals: a status, a reason for programs and a sentence for people. Faults of our own are logged with
//! their cause; the client is told only that there was one.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bloomery_pairing::wire::{ErrorResponse, Reason};

/// A request that gets nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorResponse,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, reason: Reason, message: impl Into<String>) -> Self {
        Self { status, body: ErrorResponse { reason, message: message.into() }, retry_after: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Reason::NotFound, "there is nothing at this path")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Reason::MethodNotAllowed,
            "this path does not take this method",
        )
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Reason::BadRequest, message)
    }

    pub(super) fn timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Reason::Timeout, "the request took too long to arrive")
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TooLarge,
            format!("the request is larger than {limit} bytes"),
        )
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, Reason::Conflict, message)
    }

    pub(super) fn no_space(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, Reason::NoSpace, message)
    }

    pub(super) fn no_such_asset(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Reason::NotFound, format!("there is no asset {name:?}"))
    }

    pub(super) fn wrong_code() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Reason::WrongCode,
            "this is not the pairing code of this appliance; its console shows the current one",
        )
    }

    pub(super) fn too_many_wrong_codes(wait: Duration) -> Self {
        let message = "too many wrong pairing codes were tried; Retry-After says how many seconds to wait";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, Reason::TooManyWrongCodes, message);
        Self { retry_after: Some(wait), ..refusal }
    }

    pub(super) fn admin_certificate_required() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Reason::AdminCertificateRequired,
            "this needs the admin's client certificate; `bloomery kubeconfig` gets it for the pairing code",
        )
    }

    /// Something that PID 1 provides is not there (yet).
    pub(super) fn not_ready(what: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::warn!(what, error, "failed to answer a request");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Reason::NotReady,
            format!("the {what} is not available yet"),
        )
    }

    pub(super) fn internal(what: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(what, error, "failed to answer a request");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Reason::Internal,
            format!("failed to {what}; the appliance's log says why"),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, body, retry_after } = self;
        let mut response = (status, Json(body)).into_response();
        if let Some(wait) = retry_after {
            // Rounded up: a client that obeys must not come too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
