//! The workstation's side: trade a pairing code for a certificate, then use that.
//!
//! The private key is made here and stays here.
//!
//! The secret must never be sent to anyone whose key does not have the code's fingerprint: it is checked
//! inside the TLS handshake, before a byte of HTTP leaves.

mod endpoint;
mod error;
mod exchange;
mod identity;
mod kubeconfig;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use identity::{expiry, pairing_of};
pub use kubeconfig::{APPLIANCE_EXTENSION, ApplianceExtension, Kubeconfig, RenderError, tls_server_name};

use crate::wire::{
    self, Asset, AssetComplete, AssetList, AssetPiece, ErrorResponse, LogPiece, LogQuery, PairRequest,
    PairResponse, PairingList, Reason, ReissueResponse, RenewRequest, RevokeResponse, ServiceCommand,
    ServiceResponse,
};
use crate::{Code, Person};
use exchange::{Answer, Request};

/// One whole request: connect, TLS, answer. An appliance under emulation needs seconds for a handshake.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the rights of a new administrator are waited for: a first boot under emulation takes minutes.
const RIGHTS_LIMIT: Duration = Duration::from_mins(5);
/// Where an appliance does not say how long to wait.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate with its key, and how to reach the Kubernetes API with it.
#[derive(Clone)]
pub struct Paired {
    /// PEM private key, which never left this machine.
    pub client_key: String,
    /// What the appliance gave.
    pub response: PairResponse,
}

/// Hides the private key.
impl std::fmt::Debug for Paired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paired").field("response", &self.response).finish_non_exhaustive()
    }
}

/// Trades a code for a certificate, in the name of this user on this machine.
///
/// # Errors
/// When the appliance cannot be reached, is not the one of the code, or refuses the code.
pub async fn pair(endpoint: &Endpoint, code: &Code) -> Result<Paired, ClientError> {
    pair_as(endpoint, code, &this_person()).await
}

/// Trades a code for a certificate, in the name of `person`. Waits while the appliance has not set up the rights of
/// administrators.
///
/// # Errors
/// When the appliance cannot be reached, is not the one of the code, or refuses the code.
pub async fn pair_as(endpoint: &Endpoint, code: &Code, person: &Person) -> Result<Paired, ClientError> {
    let key = identity::new_key()?;
    let client_key = key.serialize_pem();
    let request = PairRequest {
        secret: code.secret().clone(),
        csr: identity::request(&key)?,
        name: person.as_str().to_owned(),
    };
    let body = serde_json::to_vec(&request).map_err(|source| ClientError::Encode { source })?;
    let tls = Arc::new(tls::pinned(code.fingerprint())?);
    let deadline = tokio::time::Instant::now() + RIGHTS_LIMIT;
    loop {
        let request = Request { method: Method::POST, path: wire::PAIR_PATH.to_owned(), body: body.clone() };
        let answer = bounded(endpoint, exchange::exchange(endpoint, Arc::clone(&tls), None, request)).await?;
        let wait = answer.retry_after.unwrap_or(RIGHTS_INTERVAL);
        match accepted(endpoint, answer) {
            Err(ClientError::NotReady { .. }) if tokio::time::Instant::now() + wait < deadline => {
                tokio::time::sleep(wait).await;
            }
            // An appliance that hands out keys refuses the request for a certificate, by the field's name.
            Err(ClientError::Refused { endpoint, status: 400, message }) if message.contains("`csr`") => {
                return Err(ClientError::OtherVersion { endpoint });
            }
            Err(error) => return Err(error),
            Ok(body) => return Ok(Paired { client_key, response: decode(endpoint, &body)? }),
        }
    }
}

/// This user on this machine, as the operating system calls them.
pub fn this_person() -> Person {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    Person::new(&user, host.split('.').next().unwrap_or_default())
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

/// Requests that need the admin certificate. Each fails when the appliance cannot be reached, refuses, or answers with
/// something that is none of its own.
pub struct AdminClient {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    tls_server_name: Option<String>,
    client_key: zeroize::Zeroizing<String>,
}

impl AdminClient {
    /// Fails when the credentials are not PEM, or the key is not the certificate's.
    pub fn new(endpoint: Endpoint, credentials: &AdminCredentials) -> Result<Self, ClientError> {
        let tls = Arc::new(tls::authenticated(credentials)?);
        let client_key = zeroize::Zeroizing::new(credentials.client_key.clone());
        Ok(Self { endpoint, tls, tls_server_name: credentials.tls_server_name.clone(), client_key })
    }

    /// PID 1's status as the appliance has it: a JSON document.
    pub async fn status<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.request(Method::GET, wire::STATUS_PATH, Vec::new()).await
    }

    /// The boot traces.
    pub async fn traces<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.request(Method::GET, wire::TRACES_PATH, Vec::new()).await
    }

    /// The controllers' table.
    pub async fn controllers<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.request(Method::GET, wire::CONTROLLERS_PATH, Vec::new()).await
    }

    /// Tells a service to end for now, to start or to start again.
    pub async fn tell_service(
        &self,
        service: &str,
        command: ServiceCommand,
    ) -> Result<ServiceResponse, ClientError> {
        let path = format!("{}/{service}/{}", wire::SERVICES_PATH, command.as_str());
        self.request(Method::POST, &path, Vec::new()).await
    }

    /// Some lines of a service's log.
    pub async fn log(&self, service: &str, query: &LogQuery) -> Result<LogPiece, ClientError> {
        self.log_below(wire::SERVICES_PATH, service, query).await
    }

    /// Some lines of the kernel log of the machine with this Server.
    pub async fn machine_log(&self, server: &str, query: &LogQuery) -> Result<LogPiece, ClientError> {
        self.log_below(wire::MACHINES_PATH, server, query).await
    }

    async fn log_below(&self, path: &str, name: &str, query: &LogQuery) -> Result<LogPiece, ClientError> {
        let LogQuery { lines, after, wait } = query;
        let after = after.as_ref().map_or_else(String::new, |cursor| format!("&after={cursor}"));
        let path = format!("{path}/{name}/log?lines={lines}{after}&wait={wait}");
        self.request(Method::GET, &path, Vec::new()).await
    }

    /// Makes a new secret; the former code stops working at once.
    pub async fn reissue(&self) -> Result<ReissueResponse, ClientError> {
        self.request(Method::POST, wire::REISSUE_PATH, Vec::new()).await
    }

    /// A certificate for the same key that holds anew.
    pub async fn renew(&self) -> Result<PairResponse, ClientError> {
        let csr = identity::request(&identity::read_key(&self.client_key)?)?;
        let body =
            serde_json::to_vec(&RenewRequest { csr }).map_err(|source| ClientError::Encode { source })?;
        self.request(Method::POST, wire::RENEW_PATH, body).await
    }

    /// All pairings.
    pub async fn pairings(&self) -> Result<PairingList, ClientError> {
        self.request(Method::GET, wire::PAIRINGS_PATH, Vec::new()).await
    }

    /// Ends a pairing; makes a new pairing code too, unless the present one is to be kept.
    pub async fn revoke(&self, id: &str, keep_code: bool) -> Result<RevokeResponse, ClientError> {
        let path = format!("{}/{id}?keepCode={keep_code}", wire::PAIRINGS_PATH);
        self.request(Method::DELETE, &path, Vec::new()).await
    }

    /// The assets of Environments.
    pub async fn assets(&self) -> Result<AssetList, ClientError> {
        self.request(Method::GET, wire::ASSETS_PATH, Vec::new()).await
    }

    /// Sends a piece of an asset; one at offset 0 begins anew.
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
    pub async fn complete_asset(&self, name: &str, sha512: &str) -> Result<Asset, ClientError> {
        let body = serde_json::to_vec(&AssetComplete { sha512: sha512.to_owned() })
            .map_err(|source| ClientError::Encode { source })?;
        self.request(Method::POST, &format!("{}/{name}", wire::ASSETS_PATH), body).await
    }

    /// Removes an asset; those that are left.
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
fn accepted(endpoint: &Endpoint, answer: Answer) -> Result<Bytes, ClientError> {
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
        Some(ErrorResponse { reason: Reason::NotReady, message }) => {
            ClientError::NotReady { endpoint, message }
        }
        Some(ErrorResponse { reason: Reason::CertificateNotGood, message }) => {
            ClientError::CertificateNotGood { endpoint, message }
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
