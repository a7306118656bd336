//! `/v1/assets`: files for Environments, from the admin only.
//!
//! A body is read after the certificate was looked at: a stranger's costs no memory.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use bloomery_pairing::wire::{self, Asset, AssetComplete, AssetList, AssetPiece};
use serde::Deserialize;

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;
use crate::asset_store::{AssetStore, StoreError};

/// A digest and its name fit many times.
const MAX_COMPLETE_BYTES: usize = 4096;
/// As for every request that changes something: browsers do not send it to other sites unasked.
const JSON: &str = "application/json";

/// Where a piece belongs.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    offset: u64,
}

pub(super) async fn list(State(app): State<Arc<App>>, _: Admin) -> Result<Json<AssetList>, Refusal> {
    let assets = run(&app, AssetStore::list).await?;
    Ok(Json(AssetList { assets }))
}

pub(super) async fn piece(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(name): Path<String>,
    Query(place): Query<Place>,
    body: Body,
) -> Result<Json<AssetPiece>, Refusal> {
    let limit = wire::ASSET_PIECE_BYTES;
    let piece = axum::body::to_bytes(body, limit).await.map_err(|_| Refusal::too_large(limit))?;
    let received = run(&app, move |store| store.add(&name, place.offset, &piece)).await?;
    Ok(Json(AssetPiece { received }))
}

pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Asset>, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type != Some(JSON) {
        return Err(Refusal::bad_request(format!("the request needs the header content-type: {JSON}")));
    }
    let limit = MAX_COMPLETE_BYTES;
    let body = axum::body::to_bytes(body, limit).await.map_err(|_| Refusal::too_large(limit))?;
    let AssetComplete { sha512 } = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not what this path takes: {error}")))?;
    let action = format!("upload {name} sha512:{sha512}");
    let outcome = run(&app, move |store| store.complete(&name, &sha512)).await;
    admin.note(&app, action, result(&outcome)).await;
    let asset = outcome?;
    tracing::info!(asset = asset.name, bytes = asset.size, "took an asset");
    Ok(Json(asset))
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Path(name): Path<String>,
) -> Result<Json<AssetList>, Refusal> {
    let action = format!("delete asset {name}");
    let outcome = run(&app, move |store| store.delete(&name).and_then(|()| store.list())).await;
    admin.note(&app, action, result(&outcome)).await;
    let assets = outcome?;
    Ok(Json(AssetList { assets }))
}

/// How it ended, for the audit log.
fn result<T>(outcome: &Result<T, Refusal>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.message().to_owned(),
    }
}

/// Works on the store on a thread that may wait for the disk.
async fn run<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&AssetStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    const WHAT: &str = "work on the assets";
    let store = app.assets.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|error| Refusal::internal(WHAT, &error))?
        .map_err(|error| match &error {
            StoreError::Name(_) => Refusal::bad_request(error.to_string()),
            StoreError::Absent(name) => Refusal::no_such_asset(name),
            StoreError::Offset { .. } | StoreError::Mismatch { .. } => Refusal::conflict(error.to_string()),
            StoreError::TooLarge | StoreError::NoSpace { .. } => Refusal::no_space(error.to_string()),
            StoreError::File { .. } => Refusal::internal(WHAT, &error),
        })
}
