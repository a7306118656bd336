//! A plane for tests: a real gRPC server on loopback that writes down what it is told and answers as it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bloomery_agent_api::agent_server::{Agent, AgentServer};
use bloomery_agent_api::seal::{KEY_LENGTH, fingerprint, open, public_key};
use bloomery_agent_api::*;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::inventory::Inventory;
use crate::plane::Plane;

pub(crate) const UUID: &str = "4c4c4544-0042-3110-8051-b4c04f313233";

/// The plane's sealing key.
pub(crate) const SECRET: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

/// What the server does and what it was told. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakePlane {
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    /// Counts what was told, to wait for.
    pub(crate) count: Arc<watch::Sender<usize>>,
    /// Tokens that came, one for each call.
    pub(crate) tokens: Arc<Mutex<Vec<Option<String>>>>,
    /// Disks of the last heartbeat and of the last report.
    pub(crate) disks: Arc<Mutex<Vec<DiskProgress>>>,
    /// Answers to `CreateServer`; then the default.
    pub(crate) answers: Arc<Mutex<VecDeque<Result<CreateServerResponse, Status>>>>,
    /// Answers to `MarkServerAsWiped`; then none is an error.
    pub(crate) marks: Arc<Mutex<VecDeque<Status>>>,
    /// Heartbeats get no answer of use.
    pub(crate) deaf: bool,
    /// What every heartbeat is refused with.
    pub(crate) revoked: Option<Status>,
    /// Calls of `CreateServer` are never answered; their arrival is told.
    pub(crate) hang: Option<Arc<Notify>>,
}

impl FakePlane {
    fn tell<T>(&self, request: &Request<T>, what: String) {
        let token = request.metadata().get(TOKEN_METADATA).map(|value| value.to_str().unwrap().to_owned());
        self.tokens.lock().unwrap().push(token);
        self.told.lock().unwrap().push(what);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until something that begins like this was told.
    pub(crate) async fn wait_for(&self, start: &str) {
        let mut count = self.count.subscribe();
        let told = async {
            while !self.told().iter().any(|told| told.starts_with(start)) {
                count.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(limit(), told).await;
        assert!(waited.is_ok(), "not told {start:?}: {:?}", self.told());
    }

    /// Serves on a loopback address until the test ends.
    pub(crate) async fn serve(&self, address: SocketAddr) -> Plane {
        let listener = TcpListener::bind(address).await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let service = AgentServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Plane { endpoint, token: None, fingerprint: Some(fingerprint(&public_key(&SECRET))) }
    }
}

#[tonic::async_trait]
impl Agent for FakePlane {
    async fn create_server(
        &self,
        request: Request<CreateServerRequest>,
    ) -> Result<Response<CreateServerResponse>, Status> {
        if let Some(arrived) = &self.hang {
            arrived.notify_one();
            std::future::pending::<()>().await;
        }
        let message = request.get_ref();
        let uuid = message.hardware.as_ref().and_then(|hardware| hardware.system.as_ref());
        let uuid = uuid.map(|system| system.uuid.clone()).unwrap_or_default();
        self.tell(&request, format!("create {uuid} {}", message.hostname));
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| Ok(CreateServerResponse::default())).map(Response::new)
    }

    async fn reconcile_server_addresses(
        &self,
        request: Request<ReconcileServerAddressesRequest>,
    ) -> Result<Response<ReconcileServerAddressesResponse>, Status> {
        let ReconcileServerAddressesRequest { uuid, address } = request.get_ref();
        let addresses: Vec<String> =
            address.iter().map(|address| format!("{}={}", address.r#type, address.address)).collect();
        self.tell(&request, format!("addresses {uuid} {}", addresses.join(",")));
        Ok(Response::new(ReconcileServerAddressesResponse {}))
    }

    async fn mark_server_as_wiped(
        &self,
        request: Request<MarkServerAsWipedRequest>,
    ) -> Result<Response<MarkServerAsWipedResponse>, Status> {
        let order = String::from_utf8_lossy(&request.get_ref().order).into_owned();
        self.tell(&request, if order.is_empty() { "wiped".to_owned() } else { format!("wiped by {order}") });
        *self.disks.lock().unwrap() = request.into_inner().disks;
        match self.marks.lock().unwrap().pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(MarkServerAsWipedResponse {})),
        }
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        if self.deaf {
            return Err(Status::unavailable("not now"));
        }
        self.tell(&request, "heartbeat".to_owned());
        if let Some(status) = &self.revoked {
            return Err(status.clone());
        }
        *self.disks.lock().unwrap() = request.into_inner().disks;
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn update_bmc_info(
        &self,
        request: Request<UpdateBmcInfoRequest>,
    ) -> Result<Response<UpdateBmcInfoResponse>, Status> {
        let UpdateBmcInfoRequest { uuid, bmc_info } = request.get_ref();
        let sent = bmc_info.clone().unwrap_or_default();
        let beside = BmcInfo { sealed: Vec::new(), ..sent.clone() } != BmcInfo::default();
        let text = match open(&SECRET, uuid, &sent) {
            Ok(info) if !beside => format!("bmc {} {} {} {}", info.ip, info.port, info.user, info.pass.len()),
            _ => "bmc not sealed".to_owned(),
        };
        self.tell(&request, text);
        Ok(Response::new(UpdateBmcInfoResponse {}))
    }
}

pub(crate) fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) fn inventory(uuid: &str) -> Inventory {
    let system = SystemInformation { uuid: uuid.to_owned(), ..SystemInformation::default() };
    Inventory {
        hardware: HardwareInformation { system: Some(system), ..HardwareInformation::default() },
        addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
    }
}

/// A wait's bound, scaled by PATIENCE.
pub(crate) fn limit() -> std::time::Duration {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    std::time::Duration::from_secs(10 * patience)
}
