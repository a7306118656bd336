//! The agent of a simulated machine: the calls of `api.Agent` as the real one makes them.
//!
//! It does nothing by itself: what the plane says is for the machine to follow.

use super::{inventory::Identity, network, script::AgentBoot, trouble::Trouble};
use bloomery_agent_api::{
    self as pb, Address, TOKEN_METADATA, agent_client::AgentClient, disk_progress::State,
};
use bloomery_base::chain;
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// A plane on the same network answers a connection at once; the figure of the real agent.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// One call, the same.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Type of the addresses reported.
const ADDRESS_TYPE: &str = "InternalIP";

/// What the plane says to a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    /// Wipe the disks: the signed order.
    pub wipe: Option<Vec<u8>>,
    /// Restart: the machine is no longer one for the agent.
    pub restart: bool,
    /// The plane reckons the machine dead after this time without a word, while it wipes.
    pub reboot_timeout: Duration,
}

/// The agent of one boot.
#[derive(Debug)]
pub struct Agent {
    identity: Identity,
    plane: SocketAddr,
    token: Option<MetadataValue<Ascii>>,
    hardware: pb::HardwareInformation,
}

impl Agent {
    /// The agent that `boot` starts.
    ///
    /// # Errors
    /// It is sent to another plane than the one that booted it.
    pub fn new(
        identity: &Identity,
        plane: SocketAddr,
        boot: &AgentBoot,
        hardware: pb::HardwareInformation,
    ) -> Result<Self, Trouble> {
        if boot.endpoint != plane.to_string() {
            return Err(Trouble::Elsewhere { url: boot.endpoint.clone(), plane });
        }
        let token = boot.token.as_deref().map(str::parse).transpose();
        let token = token.map_err(|_| Trouble::Connect { problem: "the token is no text".to_owned() })?;
        Ok(Self { identity: identity.clone(), plane, token, hardware })
    }

    /// `CreateServer`, and `ReconcileServerAddresses` where that is needed, on a connection of their own, like the real
    /// agent each time.
    ///
    /// # Errors
    /// No connection, or a call fails.
    pub async fn register(&self) -> Result<Orders, Trouble> {
        let mut client = self.connect().await?;
        let hardware = Some(self.hardware.clone());
        let address = Address { r#type: ADDRESS_TYPE.to_owned(), address: self.identity.address.to_string() };
        let (hostname, addresses) = (self.identity.hostname(), vec![address]);
        let request = pb::CreateServerRequest { hardware, hostname, addresses: addresses.clone() };
        let answer = call("CreateServer", client.create_server(self.with_token(request))).await?;
        if !answer.addresses_taken {
            let request = pb::ReconcileServerAddressesRequest { uuid: self.uuid(), address: addresses };
            let request = self.with_token(request);
            call("ReconcileServerAddresses", client.reconcile_server_addresses(request)).await?;
        }
        let reboot_timeout = Duration::try_from_secs_f64(answer.reboot_timeout).unwrap_or_default();
        Ok(Orders { wipe: answer.wipe.then_some(answer.order), restart: answer.restart, reboot_timeout })
    }

    /// `Heartbeat`: the wipe is `done`, of one.
    ///
    /// # Errors
    /// No connection, or the call fails.
    pub async fn heartbeat(&self, done: f64) -> Result<(), Trouble> {
        let request = pb::HeartbeatRequest { uuid: self.uuid(), disks: self.disks(State::Wiping, done) };
        let mut client = self.connect().await?;
        call("Heartbeat", client.heartbeat(self.with_token(request))).await.map(drop)
    }

    /// `MarkServerAsWiped`: every disk is, as this order said.
    ///
    /// # Errors
    /// No connection, or the call fails.
    pub async fn wiped(&self, order: Vec<u8>) -> Result<(), Trouble> {
        let disks = self.disks(State::Wiped, 1.0);
        let request = pb::MarkServerAsWipedRequest { uuid: self.uuid(), disks, order };
        let mut client = self.connect().await?;
        call("MarkServerAsWiped", client.mark_server_as_wiped(self.with_token(request))).await.map(drop)
    }

    async fn connect(&self) -> Result<AgentClient<Channel>, Trouble> {
        let (from, plane) = (self.identity.address, self.plane);
        let connector = tower::service_fn(move |_: http::Uri| async move {
            network::connect(from, plane).await.map(TokioIo::new)
        });
        let failed = |error: tonic::transport::Error| Trouble::Connect { problem: chain(&error) };
        let endpoint = Endpoint::from_shared(format!("http://{plane}")).map_err(failed)?;
        let channel = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .connect_with_connector(connector)
            .await
            .map_err(failed)?;
        Ok(AgentClient::new(channel))
    }

    fn uuid(&self) -> String {
        self.identity.uuid.to_string()
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert(TOKEN_METADATA, token.clone());
        }
        request
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part"
    )]
    fn disks(&self, state: State, done: f64) -> Vec<pb::DiskProgress> {
        let devices = self.hardware.storage.iter().flat_map(|storage| &storage.devices);
        devices
            .map(|device| pb::DiskProgress {
                device: device.name.clone(),
                model: device.model.clone(),
                serial: device.serial.clone(),
                size: device.size,
                done: ((device.size as f64 * done.clamp(0.0, 1.0)) as u64).min(device.size),
                state: state.into(),
                method: "discard".to_owned(),
                error: String::new(),
            })
            .collect()
    }
}

async fn call<T>(
    method: &'static str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Trouble> {
    let failed = |code, message: &str| Trouble::Call { method, code, message: message.to_owned() };
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failed(status.code(), status.message())),
        Err(_) => Err(failed(Code::DeadlineExceeded, "no answer in time")),
    }
}
