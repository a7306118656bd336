//! The calls to the plane: gRPC `api.Agent` (spec §5.3), each on a connection of its own and within a limit.
//!
//! It must never act on an answer, and never put the token anywhere but into the metadata of a call.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_agent_api::{
    BmcInfo, CreateServerRequest, CreateServerResponse, DiskProgress, HeartbeatRequest,
    MarkServerAsWipedRequest, ReconcileServerAddressesRequest, TOKEN_METADATA, UpdateBmcInfoRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::token::Token;

mod advice;

/// A plane on the same network answers a connection at once; this much covers a loaded one.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// One call, the figure of upstream's agent (spec §5.1).
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries of a report, and how many there are: five minutes (spec §5.1).
const REPORT_PAUSE: Duration = Duration::from_secs(30);
const REPORT_RETRIES: usize = 10;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No UUID: the plane knows machines by it.
    #[error("failed to find this machine's UUID in its SMBIOS tables")]
    NoIdentity,
    #[error("failed to read {endpoint} as the address of a plane")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
    #[error("failed to connect to the plane at {endpoint}")]
    Connect { endpoint: String, source: tonic::transport::Error },
    #[error("failed to call {method} at {endpoint}: {} ({})", source.code().description(), source.message())]
    Call { method: &'static str, endpoint: String, source: Box<Status> },
    #[error("failed to get an answer to {method} from the plane at {endpoint} in time")]
    Silent { method: &'static str, endpoint: String },
}

impl Error {
    /// Whether the plane has understood and will not have it: the same again would be refused again.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Call { source, .. } => matches!(
                source.code(),
                Code::FailedPrecondition
                    | Code::NotFound
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::InvalidArgument
            ),
            Self::NoIdentity | Self::Endpoint { .. } => true,
            Self::Connect { .. } | Self::Silent { .. } => false,
        }
    }
}

/// A plane, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Plane {
    /// `host:port`.
    pub endpoint: String,
    /// What ties this agent to its boot, if the boot script gave it something.
    pub token: Option<Token>,
    /// Fingerprint of its sealing key, of the boot script.
    pub fingerprint: Option<String>,
}

impl Plane {
    /// Says what this machine is; the answer holds its orders.
    pub async fn create_server(&self, message: CreateServerRequest) -> Result<CreateServerResponse, Error> {
        let send = async |mut client: AgentClient<Channel>, request| client.create_server(request).await;
        self.call("CreateServer", CALL_LIMIT, message, send).await
    }

    /// Says by which addresses it is reached.
    pub async fn reconcile_addresses(&self, message: ReconcileServerAddressesRequest) -> Result<(), Error> {
        let send = async |mut client: AgentClient<Channel>, request| {
            client.reconcile_server_addresses(request).await
        };
        self.call("ReconcileServerAddresses", CALL_LIMIT, message, send).await.map(drop)
    }

    /// Says that a wipe is alive, and how far each disk is. Once, and not for longer than `limit`.
    pub async fn heartbeat(
        &self,
        uuid: &str,
        disks: Vec<DiskProgress>,
        limit: Duration,
    ) -> Result<(), Error> {
        let message = HeartbeatRequest { uuid: uuid.to_owned(), disks };
        let send = async |mut client: AgentClient<Channel>, request| client.heartbeat(request).await;
        self.call("Heartbeat", limit, message, send).await.map(drop)
    }

    /// Says that all disks are wiped, as this order said; again every 30 s for five minutes, unless the plane refuses.
    pub async fn mark_as_wiped(&self, uuid: &str, disks: &[DiskProgress], order: &[u8]) -> Result<(), Error> {
        let report = || async {
            let (uuid, disks, order) = (uuid.to_owned(), disks.to_vec(), order.to_vec());
            let message = MarkServerAsWipedRequest { uuid, disks, order };
            let send =
                async |mut client: AgentClient<Channel>, request| client.mark_server_as_wiped(request).await;
            self.call("MarkServerAsWiped", CALL_LIMIT, message, send).await.map(drop)
        };
        report.retry(retries()).when(|error| !error.is_refusal()).notify(log_retry).await
    }

    /// Hands over access to the BMC; tried like [`Self::mark_as_wiped`].
    pub async fn update_bmc_info(&self, uuid: &str, info: &BmcInfo) -> Result<(), Error> {
        let report = || async {
            let message = UpdateBmcInfoRequest { uuid: uuid.to_owned(), bmc_info: Some(info.clone()) };
            let send =
                async |mut client: AgentClient<Channel>, request| client.update_bmc_info(request).await;
            self.call("UpdateBMCInfo", CALL_LIMIT, message, send).await.map(drop)
        };
        report.retry(retries()).when(|error| !error.is_refusal()).notify(log_retry).await
    }

    /// A connection of its own for each call: they are far apart, and a plane that moved is found again.
    async fn connect(&self) -> Result<AgentClient<Channel>, Error> {
        let endpoint = &self.endpoint;
        let url = Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(|source| Error::Endpoint { endpoint: endpoint.clone(), source })?;
        let channel = (url.connect_timeout(CONNECT_LIMIT).connect().await)
            .map_err(|source| Error::Connect { endpoint: endpoint.clone(), source })?;
        Ok(AgentClient::new(channel))
    }

    async fn call<Q, A>(
        &self,
        method: &'static str,
        limit: Duration,
        message: Q,
        send: impl AsyncFnOnce(AgentClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let client = self.connect().await?;
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert(TOKEN_METADATA, token.metadata());
        }
        let endpoint = self.endpoint.clone();
        match tokio::time::timeout(limit, send(client, request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(source)) => Err(Error::Call { method, endpoint, source: Box::new(source) }),
            Err(_elapsed) => Err(Error::Silent { method, endpoint }),
        }
    }
}

fn retries() -> ConstantBuilder {
    ConstantBuilder::default().with_delay(REPORT_PAUSE).with_max_times(REPORT_RETRIES)
}

fn log_retry(error: &Error, pause: Duration) {
    let error = bloomery_base::chain(error);
    tracing::warn!(%error, ?pause, "report not taken; trying again");
}
