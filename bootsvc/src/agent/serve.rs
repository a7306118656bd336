//! The gRPC service: each call runs to its end, also when its client goes away half-way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use bloomery_agent_api as pb;
use bloomery_agent_api::TOKEN_METADATA;
use bloomery_agent_api::agent_server::{Agent, AgentServer};
use bloomery_api::plane::Authority;
use http::{HeaderValue, Request, Response};
use kube::Client;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use super::decide;
use super::strangers::Strangers;
use crate::boots::Caller;
use crate::connection::Connection;
use crate::services::Services;
use crate::tokens::CheckError;
use crate::turns::{Line, Turns};

/// Calls that use the API at once, here of machines that register: enough to keep it busy, few enough that it is not
/// asked over a thousand connections, and no single answer takes seconds, when a whole hall is switched on.
/// Each asks for two objects at once; together with the boot decisions and the controllers they stay below what the
/// API server lets in (60), beyond which it refuses.
const REGISTERING: usize = 4;
/// The same of machines that are registered. They do not stand in line behind a hall of new ones: those that are in the
/// middle of something finish first, and need no more heartbeats meanwhile.
const REGISTERED: usize = 8;
/// Longest message taken on a connection that has not shown a boot token yet: a machine with a hundred disks says less.
const MAX_FIRST_MESSAGE: usize = 64 << 10;
/// Longest message taken: an inventory with every list as long as we take it has some 300 kB.
const MAX_MESSAGE: usize = 1 << 20;

/// `api.Agent`, ready to be called from the HTTP service.
#[derive(Clone)]
pub struct Service {
    /// For connections that have shown a boot token.
    known: axum::Router,
    /// For all others.
    strangers: axum::Router,
}

impl Service {
    /// The service on what all services share.
    pub fn new(services: Arc<Services>) -> Self {
        let handler = Handler {
            services,
            registering: Turns::new(REGISTERING),
            registered: Turns::new(REGISTERED),
            strangers: Arc::default(),
        };
        let router = |longest| {
            let service = AgentServer::new(handler.clone()).max_decoding_message_size(longest);
            tonic::service::Routes::new(service).into_axum_router().fallback(unknown_method)
        };
        Self { known: router(MAX_MESSAGE), strangers: router(MAX_FIRST_MESSAGE) }
    }

    /// Answers one gRPC request; `is_known` says whether its connection has shown a boot token.
    pub async fn call(self, request: Request<Body>, is_known: bool) -> Response<Body> {
        match if is_known { self.known } else { self.strangers }.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// gRPC's answer to a method that does not exist: HTTP 200 and a status in the headers.
async fn unknown_method() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(Code::Unimplemented as i32));
    headers.insert("grpc-message", HeaderValue::from_static("Unknown method"));
    response
}

/// What the calls share.
#[derive(Clone)]
pub(super) struct Handler {
    pub(super) services: Arc<Services>,
    registering: Turns,
    registered: Turns,
    pub(super) strangers: Arc<Strangers>,
}

impl Handler {
    pub(super) fn client(&self) -> Result<Client, Status> {
        let client = self.services.kubernetes.client();
        client.ok_or_else(|| Status::unavailable("the Kubernetes API is not reachable yet"))
    }

    /// The authority, if this plane may act: a fenced one believes and orders nothing.
    pub(super) async fn acting(&self) -> Result<Authority, Status> {
        self.services.authority.acting().await.map_err(Status::unavailable)
    }

    /// The Server of the machine that says it has this system UUID, and the caller, if it is its present agent.
    pub(super) async fn caller(&self, uuid: &str, shown: &Shown) -> Result<(String, Caller), Status> {
        let name = self.name(uuid, shown).await?;
        let caller = self.identify(&name, shown).await.map_err(|error| refused(&name, &error))?;
        Ok((name, caller))
    }

    /// The Server of the machine that says it has this system UUID. Where more than one Server has it, the token tells.
    pub(super) async fn name(&self, uuid: &str, shown: &Shown) -> Result<String, Status> {
        let uuid = server_name(uuid)?;
        // Before all Servers were read it is looked for by its usual name.
        let names = self.services.objects.servers.named(&uuid).unwrap_or_default();
        match (names.as_slice(), &shown.token) {
            ([], _) => Ok(uuid),
            ([only], _) => Ok(only.clone()),
            (_, None) => {
                Err(Status::failed_precondition(format!("more than one machine has system UUID {uuid}")))
            }
            (_, Some(token)) => {
                let subject = self.services.tokens.subject(&names, token).await;
                subject.map(str::to_owned).ok_or_else(|| {
                    Status::unauthenticated(format!(
                        "the boot token is of no machine with system UUID {uuid}"
                    ))
                })
            }
        }
    }

    /// The same, with the reason why it is not. A call of the present agent shows that it is alive.
    pub(super) async fn identify(&self, name: &str, shown: &Shown) -> Result<Caller, CheckError> {
        let caller = self.services.tokens.check(name, shown.token.as_deref()).await?;
        if let Some(peer) = shown.peer {
            self.services.tokens.called(&caller, peer.ip());
            if caller.token.is_some() {
                self.strangers.vouch(peer.ip(), Instant::now());
            }
        }
        Ok(caller)
    }

    fn count<T>(&self, result: Result<T, Status>) -> Result<tonic::Response<T>, Status> {
        if result.is_err() {
            self.services.edge.metrics.agent_failures.inc();
        }
        result.map(tonic::Response::new)
    }

    /// Runs a call in a task of its own, so that nothing is left half-written when its client hangs up. Agents of an
    /// address that showed a good token lately come first; the token of this call was not looked at yet.
    async fn run<Q, A, R>(
        &self,
        turns: &Turns,
        request: tonic::Request<Q>,
        call: impl FnOnce(Self, Q, Shown) -> R,
    ) -> Result<tonic::Response<A>, Status>
    where
        A: Send + 'static,
        R: Future<Output = Result<A, Status>> + Send + 'static,
    {
        let shown = Shown::of(&request);
        let peer = shown.peer;
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
        let is_vouched_for = peer.is_some() && self.strangers.is_vouched_for(address, Instant::now());
        let line = if is_vouched_for { Line::Known } else { Line::Strangers };
        // Waited for here, so that a client that hangs up leaves the queue; what has begun goes on without it.
        let turn = match turns.turn(address, line).await {
            Ok(turn) => turn,
            Err(error) => {
                tracing::warn!(client = ?peer, %error, "agent turned away");
                self.services.edge.metrics.turns_refused.inc();
                return self.count(Err(Status::unavailable(format!("{error}; call again"))));
            }
        };
        let call = call(self.clone(), request.into_inner(), shown);
        let ended = tokio::spawn(async move {
            let done = call.await;
            drop(turn);
            done
        });
        self.count(ended.await.unwrap_or_else(|_| Err(Status::internal("the call failed"))))
    }
}

/// How a caller that is not the machine's present agent is told so.
pub(super) fn refused(name: &str, error: &CheckError) -> Status {
    let why = bloomery_base::chain(error);
    tracing::warn!(server = name, why, "agent refused");
    match error {
        CheckError::Problem(_) => Status::unauthenticated(why),
        CheckError::Key(_) => Status::unavailable(why),
    }
}

/// The Server name for the UUID of a request.
pub(super) fn server_name(uuid: &str) -> Result<String, Status> {
    decide::server_name(uuid).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What a call shows besides its message.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) token: Option<String>,
    /// Where it comes from.
    pub(super) peer: Option<SocketAddr>,
    pub(super) connection: Option<Connection>,
}

impl Shown {
    fn of<T>(request: &tonic::Request<T>) -> Self {
        // What is no text is no token of ours either, but it was shown.
        let token = request.metadata().get(TOKEN_METADATA);
        let token = token.map(|value| value.to_str().unwrap_or_default().to_owned());
        let connection = request.extensions().get::<Connection>().copied();
        Self { token, peer: connection.map(|connection| connection.peer), connection }
    }
}

#[tonic::async_trait]
impl Agent for Handler {
    async fn create_server(
        &self,
        request: tonic::Request<pb::CreateServerRequest>,
    ) -> Result<tonic::Response<pb::CreateServerResponse>, Status> {
        self.run(&self.registering, request, Self::create_server).await
    }

    async fn reconcile_server_addresses(
        &self,
        request: tonic::Request<pb::ReconcileServerAddressesRequest>,
    ) -> Result<tonic::Response<pb::ReconcileServerAddressesResponse>, Status> {
        self.run(&self.registered, request, Self::reconcile_addresses).await
    }

    async fn mark_server_as_wiped(
        &self,
        request: tonic::Request<pb::MarkServerAsWipedRequest>,
    ) -> Result<tonic::Response<pb::MarkServerAsWipedResponse>, Status> {
        self.run(&self.registered, request, Self::mark_wiped).await
    }

    async fn heartbeat(
        &self,
        request: tonic::Request<pb::HeartbeatRequest>,
    ) -> Result<tonic::Response<pb::HeartbeatResponse>, Status> {
        self.run(&self.registered, request, Self::heartbeat).await
    }

    async fn update_bmc_info(
        &self,
        request: tonic::Request<pb::UpdateBmcInfoRequest>,
    ) -> Result<tonic::Response<pb::UpdateBmcInfoResponse>, Status> {
        self.run(&self.registered, request, Self::update_bmc).await
    }
}
