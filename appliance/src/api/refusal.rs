//! Refusals: a status, a reason for programs and a sentence for people. The server logs the cause of its own faults,
//! which the client reads with `bloomery logs`.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bloomery_pairing::local::{Answer, Refused};
use bloomery_pairing::wire::{ErrorResponse, Reason};

use crate::identity::NotTaken;

/// How soon what is missing may be there.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// A request that gets nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorResponse,
    retry_after: Option<Duration>,
    /// Ends the connection: the next request costs a handshake.
    closes: bool,
}

impl Refusal {
    fn new(status: StatusCode, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorResponse { reason, message: message.into() },
            retry_after: None,
            closes: false,
        }
    }

    /// For people.
    pub(super) fn message(&self) -> &str {
        &self.body.message
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
        Self { retry_after: Some(wait), closes: true, ..refusal }
    }

    pub(super) fn certificate_required() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Reason::AdminCertificateRequired,
            "this needs an administrator's client certificate; `bloomery kubeconfig` gets it for the pairing code",
        )
    }

    /// A certificate that is not taken.
    pub(super) fn certificate(error: &NotTaken) -> Self {
        let text = match error {
            NotTaken::Stranger => return Self::certificate_required(),
            NotTaken::Authorities { .. } => return Self::not_ready("list of pairings", error),
            NotTaken::Expired => "the certificate has expired",
            NotTaken::Revoked => "the certificate's pairing was revoked, or it is another appliance's",
        };
        let message = format!("{text}; `bloomery kubeconfig` gets a new one for the console's pairing code");
        Self::new(StatusCode::FORBIDDEN, Reason::CertificateNotGood, message)
    }

    pub(super) fn shared_certificate() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Reason::Forbidden,
            "this certificate is of an earlier version, which gave the same to everybody: it is good to read only; \
             `bloomery kubeconfig` gets one of your own for the console's pairing code",
        )
    }

    pub(super) fn no_rights() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Reason::Forbidden,
            "the Kubernetes API gives this certificate no administrator's rights; see the ClusterRoleBinding \
             bloomery:admins",
        )
    }

    pub(super) fn rights_unknown() -> Self {
        let message =
            "the Kubernetes API does not answer, so that it is not known whether you may do this; try again";
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::NotReady, message);
        Self { retry_after: Some(TRY_AGAIN), ..refusal }
    }

    /// What PID 1 refused, in its words.
    pub(super) fn from_authority(answer: Answer) -> Self {
        let Answer::Refused { why, message } = answer else {
            tracing::error!("an answer of another kind than the question");
            return Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Reason::Internal,
                "failed to understand PID 1",
            );
        };
        match why {
            Refused::WrongSecret => Self::wrong_code(),
            Refused::NotReady => {
                let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::NotReady, message);
                Self { retry_after: Some(TRY_AGAIN), ..refusal }
            }
            Refused::BadRequest => Self::bad_request(message),
            Refused::Forbidden => Self::new(StatusCode::FORBIDDEN, Reason::Forbidden, message),
            Refused::NotFound => Self::new(StatusCode::NOT_FOUND, Reason::NotFound, message),
            Refused::Full | Refused::Conflict => Self::conflict(message),
            Refused::Internal => {
                tracing::error!(message, "PID 1 failed");
                let text = "failed to do it; `bloomery logs --service appliance-audit` says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal, text)
            }
        }
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
            format!("failed to {what}; `bloomery logs --service appliance` says why"),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, body, retry_after, closes } = self;
        let mut response = (status, Json(body)).into_response();
        if closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(wait) = retry_after {
            // Rounded up: a client that obeys must not come too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
