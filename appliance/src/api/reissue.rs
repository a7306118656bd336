//! `POST /v1/pairing/reissue`: makes a new secret; the former code stops working at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use bloomery_pairing::wire::ReissueResponse;
use bloomery_pairing::{Code, Secret};

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;

/// Asked for although there is no body: browsers do not send it to other sites unasked, so a page somewhere
/// cannot use the certificate of a browser that is here.
const JSON: &str = "application/json";

pub(super) async fn handle(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    headers: HeaderMap,
) -> Result<Json<ReissueResponse>, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type != Some(JSON) {
        return Err(Refusal::bad_request(format!("the request needs the header content-type: {JSON}")));
    }
    let _one_at_a_time = app.reissue.lock().await;
    let secret =
        Secret::generate().map_err(|error| Refusal::internal("make a new pairing secret", &error))?;
    let written = {
        let (path, secret) = (app.files.pairing_secret.clone(), secret.clone());
        // Waits for the disk.
        tokio::task::spawn_blocking(move || bloomery_pairing::store(&path, &secret, None)).await
    };
    written
        .map_err(|error| Refusal::internal("write the new pairing secret", &error))?
        .map_err(|error| Refusal::internal("write the new pairing secret", &error))?;
    app.metrics.reissued.increment();
    tracing::info!(address = %caller.address, "re-issued the pairing code");
    let code = Code::new(secret, app.tls.borrow().fingerprint);
    Ok(Json(ReissueResponse { code: code.to_string() }))
}
