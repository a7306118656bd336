//! The workstation's side: trade a pairing code for the admin identity, then use that identity.
//!
//! The secret must never be sent to anyone whose key does not have the code's fingerprint: it is checked
//! inside the TLS handshake, before a byte of HTTP leaves.

mod endpoint;
mod error;
mod exchange;
mod kubeconfig;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use kubeconfig::{APPLIANCE_EXTENSION, ApplianceExtension, Kubeconfig, RenderError, tls_server_name};

use crate::Code;
use crate::wire::{
    self, Asset, AssetComplete, AssetList, AssetPiece, ErrorResponse, PairRequest, PairResponse, Reason,
    ReissueResponse,
};
use exchange::{Answer, Request};

/// One whole request: connect, TLS, answer. An appliance under emulation needs seconds for a handshake.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Trades a code for the admin identity.
///
/// # Errors
/// When the appliance cannot be reached, is not the one of the code, or refuses the code.
pub async fn pair(endpoint: &Endpoint, code: &Code) -> Result<PairResponse, ClientError> {
    let body = serde_json::to_vec(&PairRequest { secret: code.secret().clone() })
        .map_err(|source| ClientError::Encode { source })?;
    let request = Request { method: Method::POST, path: wire::PAIR_PATH.to_owned(), body };
    let tls = Arc::new(tls::pinned(code.fingerprint())?);
    let answer = bounded(endpoint, exchange::exchange(endpoint, tls, None, request)).await?;
    decode(endpoint, &accepted(endpoint, answer)?)
}

/// The admin identity, in PEM, as a kubeconfig carries it.
#[derive(Clone)]
pub struct AdminCredentials {
    /// Signs the appliance's certificate.
    pub certificate_authority: String,
    /// Of the admin.
    pub client_certificate: String,
    /// Of the certificate.
    pub client_key: String,
    /// The name in the appliance's certificate when the endpoint's host is not in it.
    pub tls_server_name: Option<String>,
}

/// Requests that need the admin certificate.
pub struct AdminClient {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    tls_server_name: Option<String>,
}

impl AdminClient {
    /// # Errors
    /// When the credentials are not valid PEM, or the key does not belong to the certificate.
    pub fn new(endpoint: Endpoint, credentials: &AdminCredentials) -> Result<Self, ClientError> {
        let tls = Arc::new(tls::authenticated(credentials)?);
        Ok(Self { endpoint, tls, tls_server_name: credentials.tls_server_name.clone() })
    }

    /// PID 1's status as the appliance has it: a JSON document.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn status<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.request(Method::GET, wire::STATUS_PATH, Vec::new()).await
    }

    /// The boot traces.
    ///
    /// # Errors
    /// When the appliance cannot be reached, refuses, or its boot services are away.
    pub async fn traces<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.request(Method::GET, wire::TRACES_PATH, Vec::new()).await
    }

    /// Makes a new secret; the former code stops working at once.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn reissue(&self) -> Result<ReissueResponse, ClientError> {
        self.request(Method::POST, wire::REISSUE_PATH, Vec::new()).await
    }

    /// The assets of Environments.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn assets(&self) -> Result<AssetList, ClientError> {
        self.request(Method::GET, wire::ASSETS_PATH, Vec::new()).await
    }

    /// Sends a piece of an asset; one at offset 0 begins anew.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn put_asset_piece(
        &self,
        name: &str,
        offset: u64,
        piece: Vec<u8>,
    ) -> Result<AssetPiece, ClientError> {
        let path = format!("{}/{name}?offset={offset}", wire::ASSETS_PATH);
        self.request(Method::PUT, &path, piece).await
    }

    /// Puts an asset in place whose pieces are all there.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn complete_asset(&self, name: &str, sha512: &str) -> Result<Asset, ClientError> {
        let body = serde_json::to_vec(&AssetComplete { sha512: sha512.to_owned() })
            .map_err(|source| ClientError::Encode { source })?;
        self.request(Method::POST, &format!("{}/{name}", wire::ASSETS_PATH), body).await
    }

    /// Removes an asset; those that are left.
    ///
    /// # Errors
    /// When the appliance cannot be reached or refuses.
    pub async fn delete_asset(&self, name: &str) -> Result<AssetList, ClientError> {
        self.request(Method::DELETE, &format!("{}/{name}", wire::ASSETS_PATH), Vec::new()).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let request = Request { method, path: path.to_owned(), body };
        let name = self.tls_server_name.as_deref();
        let exchange = exchange::exchange(&self.endpoint, Arc::clone(&self.tls), name, request);
        let answer = bounded(&self.endpoint, exchange).await?;
        decode(&self.endpoint, &accepted(&self.endpoint, answer)?)
    }
}

async fn bounded(
    endpoint: &Endpoint,
    exchange: impl Future<Output = Result<Answer, ClientError>>,
) -> Result<Answer, ClientError> {
    // Boxed: TLS and HTTP states are large, and callers would carry them in every future of theirs.
    tokio::time::timeout(REQUEST_TIMEOUT, Box::pin(exchange))
        .await
        .unwrap_or_else(|_| Err(ClientError::Timeout { endpoint: endpoint.clone(), limit: REQUEST_TIMEOUT }))
}

/// Turns refusals into errors.
fn accepted(endpoint: &Endpoint, answer: Answer) -> Result<Vec<u8>, ClientError> {
    if answer.status == StatusCode::OK {
        return Ok(answer.body);
    }
    let endpoint = endpoint.clone();
    let refusal: Option<ErrorResponse> = serde_json::from_slice(&answer.body).ok();
    Err(match refusal {
        Some(ErrorResponse { reason: Reason::WrongCode, .. }) => ClientError::WrongCode { endpoint },
        Some(ErrorResponse { reason: Reason::TooManyWrongCodes, .. }) => {
            ClientError::RateLimited { endpoint, retry_after: answer.retry_after }
        }
        Some(ErrorResponse { reason: _, message }) => {
            ClientError::Refused { endpoint, status: answer.status.as_u16(), message }
        }
        None => ClientError::Refused {
            endpoint,
            status: answer.status.as_u16(),
            message: "no reason given".to_owned(),
        },
    })
}

fn decode<T: DeserializeOwned>(endpoint: &Endpoint, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Decode { endpoint: endpoint.clone(), source })
}
