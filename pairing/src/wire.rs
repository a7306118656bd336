//! What goes over the appliance's HTTPS interface (TCP 8443): paths, requests and answers, all JSON.
//!
//! | request | needs | answer |
//! | --- | --- | --- |
//! | `POST /v1/pair` [`PairRequest`] | the secret | 200 [`PairResponse`], 403, 429 and 503 with `Retry-After` |
//! | `POST /v1/pairing/renew` [`RenewRequest`] | admin certificate | 200 [`PairResponse`] |
//! | `POST /v1/pairing/reissue` | admin certificate | 200 [`ReissueResponse`] |
//! | `GET /v1/pairings` | admin certificate | 200 [`PairingList`] |
//! | `DELETE /v1/pairings/ID?keepCode=true` | admin certificate | 200 [`RevokeResponse`], 404 |
//! | `GET /v1/status` | admin certificate | 200, PID 1's `status.json` as it stands |
//! | `POST /v1/services/NAME/hold`, `…/start`, `…/restart` | admin certificate | 200 [`ServiceResponse`], 404, 409 |
//! | `GET /v1/services/NAME/log?lines=N`, `…?after=CURSOR&wait=true` | admin certificate | 200 [`LogPiece`], 404 |
//! | `GET /v1/machines/NAME/log?lines=N`, `…?after=CURSOR&wait=true` | admin certificate | 200 [`LogPiece`] |
//! | `GET /v1/traces` | admin certificate | 200, the boot services' traces as they stand |
//! | `GET /v1/controllers` | admin certificate | 200, the controllers' table as it stands |
//! | `GET /v1/assets` | admin certificate | 200 [`AssetList`] |
//! | `PUT /v1/assets/NAME?offset=N`, at most [`ASSET_PIECE_BYTES`] | admin certificate | 200 [`AssetPiece`] |
//! | `POST /v1/assets/NAME` [`AssetComplete`] | admin certificate | 200 [`Asset`], 409 |
//! | `DELETE /v1/assets/NAME` | admin certificate | 200 [`AssetList`], 404 |
//! | `GET /metrics` | admin certificate | 200, Prometheus text of all services |
//! | `GET /healthz`, `GET /readyz` | anyone | 200 or 503 |
//!
//! Every refusal carries an [`ErrorResponse`].

use serde::{Deserialize, Serialize};

use crate::Secret;

/// TCP port of the appliance's HTTPS interface.
pub const APPLIANCE_PORT: u16 = 8443;
/// TCP port of the Kubernetes API.
pub const API_SERVER_PORT: u16 = 6443;

/// `POST`: secret and certificate request in, certificate out.
pub const PAIR_PATH: &str = "/v1/pair";
/// `POST`: certificate request for the same key in, certificate out.
pub const RENEW_PATH: &str = "/v1/pairing/renew";
/// `GET`: all pairings; an ID behind it: `DELETE`.
pub const PAIRINGS_PATH: &str = "/v1/pairings";
/// `POST`: makes a new secret; the old code stops working.
pub const REISSUE_PATH: &str = "/v1/pairing/reissue";
/// `GET`: PID 1's status.
pub const STATUS_PATH: &str = "/v1/status";
/// A service's name and a [`ServiceCommand`] behind it: `POST`; its name and `log` behind it: `GET` with a [`LogQuery`].
pub const SERVICES_PATH: &str = "/v1/services";
/// The name of a machine's Server and `log` behind it: `GET` its kernel log with a [`LogQuery`].
pub const MACHINES_PATH: &str = "/v1/machines";
/// Most lines of a log that one request begins with.
pub const MAX_LOG_LINES: u32 = 2_000;
/// `GET`: every machine's way from DISCOVER to the agent, as the boot services saw it.
pub const TRACES_PATH: &str = "/v1/traces";
/// `GET`: what each controller does and did last, and what fails.
pub const CONTROLLERS_PATH: &str = "/v1/controllers";
/// `GET`: the assets; a name behind it: `PUT` pieces, `POST` when all are there, `DELETE`.
pub const ASSETS_PATH: &str = "/v1/assets";
/// Largest piece of an asset: it has to arrive within a request's time on a slow line.
pub const ASSET_PIECE_BYTES: usize = 4 << 20;
/// Bytes of the largest asset, as large as Environments take.
pub const LARGEST_ASSET_BYTES: u64 = 4 << 30;
/// `GET`: Prometheus metrics of all services.
pub const METRICS_PATH: &str = "/metrics";
/// `GET`: the process is alive.
pub const HEALTHZ_PATH: &str = "/healthz";
/// `GET`: pairing would work.
pub const READYZ_PATH: &str = "/readyz";

/// Common name of the one certificate that earlier versions handed out to everybody.
pub const SHARED_USER: &str = "bloomery:admin";
/// Stands for that certificate where an ID of a pairing is asked for.
pub const SHARED_ID: &str = "shared";
/// Organization (Kubernetes group) of all pairings. The rights that it has on the Kubernetes API are those of
/// the `ClusterRoleBinding` of the same name.
pub const ADMIN_GROUP: &str = "bloomery:admins";

/// Body of `POST /v1/pair`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairRequest {
    /// The first twelve symbols of the code.
    pub secret: Secret,
    /// PEM certificate request. Programs of earlier versions send none and are told so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub csr: String,
    /// `USER@HOST`, as the workstation says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Body of `POST /v1/pairing/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewRequest {
    /// PEM certificate request for the key that was paired.
    pub csr: String,
}

/// A certificate and how to reach the Kubernetes API with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairResponse {
    /// PEM certificate that signs the API server's and the appliance's certificate.
    pub certificate_authority: String,
    /// PEM client certificate.
    pub client_certificate: String,
    /// The pairing's ID.
    pub id: String,
    /// The user's name on the Kubernetes API.
    pub user: String,
    /// When the certificate expires (RFC 3339).
    pub expires: String,
    /// TCP port of the Kubernetes API on the same host.
    pub api_server_port: u16,
    /// DNS names and IP addresses in the API server's certificate. A client that reaches it by another name
    /// has to verify one of these (`tls-server-name`).
    pub server_names: Vec<String>,
}

/// One pairing, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pairing {
    /// What revokes it; [`SHARED_ID`] for what an earlier version handed out.
    pub id: String,
    /// `USER@HOST`, as the workstation said.
    pub name: String,
    /// The user's name on the Kubernetes API.
    pub user: String,
    /// Whether its certificate is good.
    pub state: PairingState,
    /// When it began (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired: Option<String>,
    /// When it was renewed last (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<String>,
    /// When its certificate expires (RFC 3339).
    pub expires: String,
    /// When it was revoked (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Address that the workstation paired from.
    pub address: String,
    /// Whether it is the caller's own.
    #[serde(default)]
    pub own: bool,
}

/// Whether a pairing's certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairingState {
    /// It is.
    Active,
    /// It was not renewed in time.
    Expired,
    /// An administrator ended it.
    Revoked,
}

/// Answer of `GET /v1/pairings`: oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingList {
    /// The pairings.
    pub pairings: Vec<Pairing>,
}

/// Answer of `DELETE /v1/pairings/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokeResponse {
    /// The pairing that has ended.
    pub revoked: Pairing,
    /// The new pairing code as the console shows it, unless the former one was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Answer of `POST /v1/pairing/reissue`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReissueResponse {
    /// The new code as the console shows it.
    pub code: String,
}

/// A file that Environments can name by a `file:` URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The URL for an Environment.
    pub url: String,
}

/// Answer of `GET /v1/assets`: sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssetList {
    /// The assets.
    pub assets: Vec<Asset>,
}

/// Answer to a piece of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssetPiece {
    /// Bytes that are there; the next piece has this offset.
    pub received: u64,
}

/// Body of `POST /v1/assets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssetComplete {
    /// SHA-512 of the whole in lower case hexadecimal.
    pub sha512: String,
}

/// What a service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceCommand {
    /// End, and stay so until it is started or the machine is restarted.
    Hold,
    /// End a hold, or the wait after a crash.
    Start,
    /// End and start again.
    Restart,
}

impl ServiceCommand {
    /// The word in paths and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Start => "start",
            Self::Restart => "restart",
        }
    }
}

/// Answer of `POST /v1/services/NAME/COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceResponse {
    /// The service.
    pub service: String,
    /// Its state now, in the words of `GET /v1/status`.
    pub state: String,
}

/// Where to read a log from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogQuery {
    /// Begins with so many lines from the end, at most [`MAX_LOG_LINES`]; ignored beside `after`.
    #[serde(default)]
    pub lines: u32,
    /// Goes on at the `next` of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Waits some seconds for new lines where there are none.
    #[serde(default)]
    pub wait: bool,
}

/// Some whole lines of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPiece {
    /// The lines; what is not UTF-8 is replaced.
    pub text: String,
    /// The cursor that goes on from here.
    pub next: String,
    /// More lines are there already.
    pub more: bool,
    /// Lines since the cursor are lost: the log was turned over.
    pub skipped: bool,
}

/// Body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// 400: the body is not what the path takes.
    BadRequest,
    /// 403: the secret is not this appliance's.
    WrongCode,
    /// 403: the path needs the admin's client certificate.
    AdminCertificateRequired,
    /// 403: the certificate was good once: it has expired, or its pairing was revoked.
    CertificateNotGood,
    /// 403: the certificate is good, and its user has no administrator's rights on the Kubernetes API, or too few for
    /// this path.
    Forbidden,
    /// 404: no such path.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 408: the request took too long to arrive.
    Timeout,
    /// 409: the piece does not follow the ones before, or the whole is not what was announced.
    Conflict,
    /// 413: the body is too large.
    TooLarge,
    /// 429: too many wrong codes; `Retry-After` says how many seconds to wait.
    TooManyWrongCodes,
    /// 500: a fault of the appliance.
    Internal,
    /// 507: the disk has no room for it.
    NoSpace,
    /// 503: something that the answer needs is not there yet.
    NotReady,
    /// A newer appliance's reason.
    #[serde(other)]
    Unknown,
}
