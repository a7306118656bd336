//! The event sink: what nodes tell, and what follows from it for their ServerBindings.
//!
//! An event that is not understood succeeds: a node sends its events one after the other, and repeats one that failed
//! for ever. Never writes to another binding than that of the address the event came from.

mod decode;

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bloomery_api::ServerBinding;
use bloomery_api::siderolink::report::{Report, TALOS_VERSION_ANNOTATION, report};
use bloomery_platform::patch::{Part, Written, try_merge};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PatchParams;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;

use crate::bounds::{Admission, Pace};
use crate::config::NegativeFilter;
use crate::listen;
use crate::plane::Plane;
use bloomery_siderolink_api::events::event_sink_service_server::{EventSinkService, EventSinkServiceServer};
use bloomery_siderolink_api::events::{EventRequest, EventResponse};

/// Connections: a node has one, and a new one after a restart.
const MOST_CONNECTIONS: usize = 4096;
const CONNECTIONS_EACH: usize = 2;
/// Events of one node: a boot has some hundred.
const EVENTS_EACH_SECOND: u32 = 20;
const BURST_OF_EVENTS: u32 = 400;
/// Longest event: an error message, or the addresses of a node.
const MOST_OCTETS: usize = 64 << 10;
/// Calls at once on one connection; nodes make one.
const MOST_STREAMS: u32 = 4;
/// Octets of all calls of a connection that wait to be read.
const WINDOW: u32 = 128 << 10;
/// A peer that does not answer a ping in this time is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Writes under way at once, of all nodes: the API server takes few, and nodes wait.
const WRITES: usize = 8;
/// Tries to write a binding that changes meanwhile.
const TRIES: usize = 8;

/// The sink.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

struct Inner {
    plane: Arc<Plane>,
    filter: NegativeFilter,
    admission: Admission,
    pace: Pace,
    writes: tokio::sync::Semaphore,
}

/// Whose connection a call came by.
#[derive(Debug, Clone, Copy)]
struct Caller(Ipv6Addr);

impl Sink {
    /// For this plane; addresses in `filter` are not recorded.
    pub fn new(plane: Arc<Plane>, filter: NegativeFilter) -> Self {
        Self(Arc::new(Inner {
            plane,
            filter,
            admission: Admission::new(MOST_CONNECTIONS, CONNECTIONS_EACH),
            pace: Pace::new(EVENTS_EACH_SECOND, BURST_OF_EVENTS),
            writes: tokio::sync::Semaphore::new(WRITES),
        }))
    }

    /// Takes events for ever.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        listen::serve(&listener, &self.0.admission, |stream, node| self.clone().connection(stream, node))
            .await
    }

    async fn connection(self, stream: TcpStream, node: Ipv6Addr) {
        let server = EventSinkServiceServer::new(self).max_decoding_message_size(MOST_OCTETS);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Caller(node));
            server.clone().oneshot(request)
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .keep_alive_interval(PING_TIMEOUT)
            .keep_alive_timeout(PING_TIMEOUT);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%node, %error, "connection ended");
        }
    }

    async fn take(&self, node: Ipv6Addr, request: EventRequest) -> Result<(), Status> {
        let Inner { plane, filter, pace, .. } = &*self.0;
        pace.take(node, 1).await;
        let counters = &plane.counters.events;
        counters.events.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(event) = request.data.as_ref().and_then(decode::event) else { return Ok(()) };
        let network = plane.network().ok_or_else(|| Status::unavailable("the tunnel is being changed"))?;
        let Some(mut binding) = plane.nodes.at(node) else {
            counters.unknown.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Err(Status::unknown(format!("failed to find ServerBindings for ip {node}")));
        };
        let uid = binding.metadata.uid.clone();
        for _ in 0..TRIES {
            let annotations = binding.metadata.annotations.as_ref();
            let talos = annotations.and_then(|annotations| annotations.get(TALOS_VERSION_ANNOTATION));
            let report = report(&event, network, talos.map(String::as_str), filter);
            let Some((change, part)) = next_change(&report, &binding) else { return Ok(()) };
            binding = self.write(&binding, change, part, decode::name(&event)).await?;
            if binding.metadata.uid != uid {
                // The machine was given to another cluster meanwhile.
                return Ok(());
            }
        }
        Err(Status::aborted("the server binding keeps changing"))
    }

    /// Writes, and answers with the object as it is now: changed, or by others.
    async fn write(
        &self,
        binding: &Arc<ServerBinding>,
        change: Value,
        part: Part,
        event: &'static str,
    ) -> Result<Arc<ServerBinding>, Status> {
        let away = |error: kube::Error| {
            tracing::warn!(error = bloomery_base::chain(&error), "event not recorded");
            Status::unavailable("the Kubernetes API does not take the event")
        };
        let Inner { plane, writes, .. } = &*self.0;
        let client = plane.kubernetes.client();
        let client = client.ok_or_else(|| Status::unavailable("the Kubernetes API is away"))?;
        let _turn = writes.acquire().await.map_err(|_| Status::unavailable("stopping"))?;
        let bindings: Api<ServerBinding> = Api::all(client);
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let params = PatchParams::default();
        let current = match try_merge(&bindings, &**binding, change, part, &params).await.map_err(away)? {
            Written::Done(written) => {
                tracing::info!(server = name, event, "event recorded");
                Arc::new(*written)
            }
            Written::Changed => {
                let current = bindings.get_opt(name).await.map_err(away)?;
                let gone = || Status::unknown(format!("failed to find the ServerBinding {name}"));
                Arc::new(current.ok_or_else(gone)?)
            }
        };
        plane.nodes.note(Arc::clone(&current));
        Ok(current)
    }
}

/// The next write that a report needs.
fn next_change(report: &Report, binding: &ServerBinding) -> Option<(Value, Part)> {
    if let Some((addresses, hostname)) = report.node_of(binding) {
        let change = json!({ "spec": { "addresses": addresses, "hostname": hostname } });
        return Some((change, Part::Object));
    }
    let conditions = report.conditions_of(binding, &Time(Timestamp::now()))?;
    Some((json!({ "status": { "conditions": conditions } }), Part::Status))
}

#[tonic::async_trait]
impl EventSinkService for Sink {
    async fn publish(&self, request: Request<EventRequest>) -> Result<Response<EventResponse>, Status> {
        let caller = request.extensions().get::<Caller>().copied();
        let Caller(node) = caller.ok_or_else(|| Status::internal("the caller is not known"))?;
        self.take(node, request.into_inner()).await.map(|()| Response::new(EventResponse {}))
    }
}
