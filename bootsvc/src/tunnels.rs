//! Nodes' calls for a tunnel, passed on to SideroLink's own service: upstream has both behind one port.
//!
//! Whether a caller is the machine that it names is judged here, by its network card; the service behind sees no more
//! than the loopback. It must never pass on a call whose caller cannot be told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bloomery_api::Server;
use bloomery_siderolink_api::link::provision_service_client::ProvisionServiceClient;
use bloomery_siderolink_api::link::provision_service_server::{ProvisionService, ProvisionServiceServer};
use bloomery_siderolink_api::link::{ProvisionRequest, ProvisionResponse};
use bloomery_siderolink_api::{MOST_OCTETS, REACHED_AT};
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;

use crate::agent::objects::may_be_its_card;
use crate::connection::Connection;
use crate::events::Happening;
use crate::services::Services;

/// Calls under way at once: a hall of nodes that starts asks once each, and again every few seconds.
const MOST_CALLS: usize = 32;
/// Longest wait for the service.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// What the paths of all calls of the service begin with.
const PATH: &str = "/sidero.link.ProvisionService/";

/// Whether a call is one for SideroLink.
pub fn is_call(path: &str) -> bool {
    path.starts_with(PATH)
}

/// Passes calls on.
#[derive(Clone)]
pub struct Forward {
    services: Arc<Services>,
    calls: Arc<Semaphore>,
    channel: Channel,
}

impl Forward {
    /// To the service at its address.
    pub fn new(services: Arc<Services>) -> Self {
        let to = Endpoint::from_shared(format!("http://{}", services.siderolink_addr));
        // An address and a port are an authority.
        let to = to.unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1"));
        let channel = to.connect_timeout(ANSWER_WITHIN).timeout(ANSWER_WITHIN).connect_lazy();
        Self { services, calls: Arc::new(Semaphore::new(MOST_CALLS)), channel }
    }

    /// Answers one gRPC request.
    pub async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let server = ProvisionServiceServer::new(self).max_decoding_message_size(MOST_OCTETS);
        match server.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// The Server whose machine calls.
    async fn caller(&self, uuid: &str, peer: SocketAddr) -> Result<Arc<Server>, Status> {
        let unknown = || Status::not_found(format!("server binding {uuid:?} not found"));
        let servers = &self.services.objects.servers;
        let unlisted =
            |_| Status::unavailable("this plane has just started and has not read all Servers; call again");
        let names = servers.named(&uuid.to_lowercase()).map_err(unlisted)?;
        let known: Vec<Arc<Server>> = names
            .iter()
            .filter_map(|name| servers.known(name))
            .map(|known| Arc::clone(&known.server))
            .collect();
        if known.is_empty() {
            return Err(unknown());
        }
        let seen = self.services.neighbours.seen(peer).await;
        let mut callers = known.iter().filter(|server| may_be_its_card(server, &seen));
        match (callers.next(), callers.next()) {
            (Some(only), None) => Ok(Arc::clone(only)),
            (Some(_), Some(_)) => {
                Err(Status::failed_precondition(format!("more than one machine has system UUID {uuid}")))
            }
            (None, _) => {
                for server in &known {
                    let message = format!(
                        "{peer} asked for this machine's end of the tunnel, and is not seen with a network card of it"
                    );
                    self.services
                        .events
                        .record(Happening::of(server, "SideroLinkRefused", message).warning());
                }
                tracing::warn!(server = uuid, client = %peer, ?seen, "call for a tunnel refused");
                Err(unknown())
            }
        }
    }
}

#[tonic::async_trait]
impl ProvisionService for Forward {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let connection = request.extensions().get::<Connection>().copied();
        let connection = connection.ok_or_else(|| Status::internal("the caller is not known"))?;
        let busy = |_| Status::unavailable("too many machines ask for a tunnel; call again");
        let _call = self.calls.try_acquire().map_err(busy)?;
        self.services.authority.acting().await.map_err(Status::unavailable)?;
        let mut message = request.into_inner();
        let server = self.caller(&message.node_uuid, connection.peer).await?;
        message.node_uuid = server.metadata.name.clone().unwrap_or_default();
        let mut request = Request::new(message);
        if let Ok(reached) = connection.local.ip().to_string().parse() {
            request.metadata_mut().insert(REACHED_AT, reached);
        }
        ProvisionServiceClient::new(self.channel.clone()).provision(request).await
    }
}

#[cfg(test)]
mod tests;
