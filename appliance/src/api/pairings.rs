//! `/v1/pairing/…` and `/v1/pairings`: renewals, the list, revocations and new codes. PID 1 decides on all of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bloomery_pairing::Code;
use bloomery_pairing::local::{self, Answer, Question};
use bloomery_pairing::wire::{PairingList, ReissueResponse, RenewRequest, RevokeResponse};
use serde::Deserialize;

use super::App;
use super::admin::{Admin, Certified};
use super::pair;
use super::refusal::Refusal;

/// Asked for although there may be no body: browsers do not send it to other sites unasked, so a page somewhere
/// cannot use the certificate of a browser that is here.
const JSON: &str = "application/json";

pub(super) async fn renew(
    State(app): State<Arc<App>>,
    Certified { caller, holder }: Certified,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    require_json(&headers)?;
    let RenewRequest { csr } = pair::read_request(body).await?;
    let (caller, address) = (holder.id().to_owned(), caller.address.to_string());
    match ask(&app, Question::Renew { caller, csr, address }).await? {
        Answer::Issued(issued) => {
            app.metrics.renewed.increment();
            tracing::info!(user = issued.user, "renewed a certificate");
            Ok(pair::certificate(&app, issued))
        }
        other => Err(Refusal::from_authority(other)),
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Admin(Certified { caller: _, holder }): Admin,
) -> Result<Json<PairingList>, Refusal> {
    match ask(&app, Question::List).await? {
        Answer::Pairings { mut pairings } => {
            for pairing in &mut pairings {
                pairing.own = pairing.id == holder.id();
            }
            Ok(Json(PairingList { pairings }))
        }
        other => Err(Refusal::from_authority(other)),
    }
}

/// What goes with a revocation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevokeQuery {
    #[serde(default)]
    keep_code: bool,
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Certified { caller, holder }: Certified,
    Path(id): Path<String>,
    Query(RevokeQuery { keep_code }): Query<RevokeQuery>,
    headers: HeaderMap,
) -> Result<Json<RevokeResponse>, Refusal> {
    require_json(&headers)?;
    let own = holder.id() == id;
    let (caller, address) = (holder.id().to_owned(), caller.address.to_string());
    match ask(&app, Question::Revoke { caller, id, keep_code, address }).await? {
        Answer::Revoked { mut pairing, secret } => {
            app.metrics.revoked.increment();
            tracing::info!(user = pairing.user, "revoked a pairing");
            pairing.own = own;
            let code = secret.map(|secret| Code::new(secret, app.tls.borrow().fingerprint).to_string());
            Ok(Json(RevokeResponse { revoked: pairing, code }))
        }
        other => Err(Refusal::from_authority(other)),
    }
}

pub(super) async fn reissue(
    State(app): State<Arc<App>>,
    Certified { caller, holder }: Certified,
    headers: HeaderMap,
) -> Result<Json<ReissueResponse>, Refusal> {
    require_json(&headers)?;
    let (caller, address) = (holder.id().to_owned(), caller.address.to_string());
    match ask(&app, Question::Reissue { caller, address }).await? {
        Answer::Reissued { secret } => {
            app.metrics.reissued.increment();
            tracing::info!("re-issued the pairing code");
            let code = Code::new(secret, app.tls.borrow().fingerprint);
            Ok(Json(ReissueResponse { code: code.to_string() }))
        }
        other => Err(Refusal::from_authority(other)),
    }
}

pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type == Some(JSON) {
        Ok(())
    } else {
        Err(Refusal::bad_request(format!("the request needs the header content-type: {JSON}")))
    }
}

async fn ask(app: &App, question: Question) -> Result<Answer, Refusal> {
    local::ask(&app.files.authority, &question)
        .await
        .map_err(|error| Refusal::not_ready("list of pairings", &error))
}
