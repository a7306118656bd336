//! The gRPC service: reads and writes the Server of the machine that calls.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bloomery_agent_api as pb;
use bloomery_agent_api::agent_server::{Agent, AgentServer};
use bloomery_api::decision::Lookup;
use bloomery_api::decision::agent::{self as orders, AgentOptions, Capabilities, Evidence, WipeOrder};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::{Server, ServerSpec};
use http::{HeaderValue, Request, Response};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tonic::{Code, Status};

use super::{decide, wire};
use crate::http::lookup;
use crate::http::serve::Connection;
use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};
use crate::metrics::Metrics;

/// Events of cluster-scoped objects land here.
const EVENT_NAMESPACE: &str = "default";
/// Source of our events (spec/sidero.md §5.3).
const COMPONENT: &str = "sidero-server";
/// Field manager of our writes.
const FIELD_MANAGER: &str = "bootsvc";
/// Longest host name (RFC 1035).
const MAX_HOSTNAME: usize = 253;

/// Options of the service.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `--auto-accept-servers`.
    pub auto_accept: bool,
    /// `--insecure-wipe`.
    pub insecure_wipe: bool,
    /// `--auto-bmc-setup`.
    pub auto_bmc_setup: bool,
    /// `--server-reboot-timeout`.
    pub reboot_timeout: Duration,
}

/// `api.Agent`, ready to be called from the HTTP service.
#[derive(Clone)]
pub struct Service {
    router: axum::Router,
}

impl Service {
    /// The service on top of the Kubernetes API.
    pub fn new(kubernetes: Kubernetes, options: Options, metrics: Arc<Metrics>) -> Self {
        let agent = AgentServer::new(Handler { kubernetes, options, metrics });
        let router = tonic::service::Routes::new(agent).into_axum_router().fallback(unknown_method);
        Self { router }
    }

    /// Answers one gRPC request.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        crate::http::serve::route_to(self.router, request).await
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

struct Handler {
    kubernetes: Kubernetes,
    options: Options,
    metrics: Arc<Metrics>,
}

/// What became of a registration.
enum Registration {
    Created(Server),
    Known(Server),
}

impl Handler {
    fn client(&self) -> Result<Client, Status> {
        self.kubernetes.client().ok_or_else(|| Status::unavailable("the Kubernetes API is not reachable yet"))
    }

    async fn server(&self, client: &Client, name: &str) -> Result<Server, Status> {
        match lookup::get::<Server>(client, name).await {
            Lookup::Found(server) => Ok(server),
            Lookup::NotFound => Err(Status::not_found(format!("server {name} is not registered"))),
            Lookup::Failed => Err(Status::unavailable(format!("failed to look up server {name}"))),
        }
    }

    async fn register(
        &self,
        client: &Client,
        name: &str,
        hardware: HardwareInformation,
        hostname: &str,
    ) -> Result<Registration, Status> {
        match lookup::get::<Server>(client, name).await {
            Lookup::Found(server) => self.refresh(client, server, hardware).await.map(Registration::Known),
            Lookup::Failed => Err(Status::unavailable(format!("failed to look up server {name}"))),
            Lookup::NotFound => {
                let spec = ServerSpec {
                    hardware: Some(hardware.clone()),
                    hostname: hostname.to_owned(),
                    accepted: self.options.auto_accept,
                    ..ServerSpec::default()
                };
                let servers: Api<Server> = Api::all(client.clone());
                let params =
                    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                match within(servers.create(&params, &Server::new(name, spec))).await? {
                    Ok(server) => Ok(Registration::Created(server)),
                    // Somebody was quicker, most likely this machine's own repeated call.
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {
                        let server = self.server(client, name).await?;
                        self.refresh(client, server, hardware).await.map(Registration::Known)
                    }
                    Err(error) => Err(api_failed("create", name, &error)),
                }
            }
        }
    }

    /// Writes the inventory of a known machine if it is another; nothing else of its spec changes.
    async fn refresh(
        &self,
        client: &Client,
        server: Server,
        hardware: HardwareInformation,
    ) -> Result<Server, Status> {
        let name = server.metadata.name.clone().unwrap_or_default();
        if let Some(known) = &server.spec.hardware {
            if *known == hardware {
                return Ok(server);
            }
            if decide::are_different_machines(known, &hardware) {
                tracing::warn!(server = name, "registration refused: two machines have this uuid");
                return Err(Status::invalid_argument(format!(
                    "another machine with system UUID {name} is registered (other serial number, other network \
                     cards); give each its own UUID in its firmware, or delete the Server if the machine was replaced"
                )));
            }
        }
        let Ok(hardware) = serde_json::to_value(&hardware) else {
            return Err(Status::internal("failed to write the inventory"));
        };
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": server.metadata.uid },
            { "op": "add", "path": "/spec/hardware", "value": hardware },
        ]);
        let patch =
            serde_json::from_value(patch).map_err(|_| Status::internal("failed to write the inventory"))?;
        let servers: Api<Server> = Api::all(client.clone());
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = within(servers.patch(&name, &params, &Patch::Json::<()>(patch))).await?;
        patched
            .inspect(|_| tracing::info!(server = name, "inventory refreshed"))
            .map_err(|error| api_failed("update", &name, &error))
    }

    /// What the machine is told to do. It is told nothing while it cannot be known whether it is bound.
    async fn orders(&self, client: &Client, server: &Server) -> Result<pb::CreateServerResponse, Status> {
        let name = server.metadata.name.as_deref().unwrap_or_default();
        let binding = match lookup::binding(client, name).await {
            Lookup::Found(binding) => Some(binding),
            Lookup::NotFound => None,
            Lookup::Failed => {
                return Err(Status::unavailable("failed to look up the machine's ServerBinding"));
            }
        };
        let options = AgentOptions {
            auto_bmc_setup: self.options.auto_bmc_setup,
            insecure_wipe: self.options.insecure_wipe,
        };
        let orders = orders::agent(server, binding.as_ref(), Evidence::None, options, Capabilities::CURRENT);
        let (wipe, reason) = match orders.wipe {
            WipeOrder::Wipe => (true, "its disks are wiped"),
            WipeOrder::Refuse(refusal) => (false, refusal.message()),
        };
        tracing::info!(server = name, wipe, reason, "agent told what to do");
        Ok(pb::CreateServerResponse {
            wipe,
            insecure_wipe: orders.insecure_wipe,
            // An account made on the controller could not be reported: UpdateBMCInfo is refused.
            setup_bmc: orders.setup_bmc && BMC_SETUP_SERVED,
            reboot_timeout: if wipe { self.options.reboot_timeout.as_secs_f64() } else { 0.0 },
            restart: false,
            message: reason.to_owned(),
        })
    }
}

/// Whether `UpdateBMCInfo` is served.
const BMC_SETUP_SERVED: bool = false;

/// Waits for the API no longer than agents wait for us.
async fn within<T>(call: impl Future<Output = T>) -> Result<T, Status> {
    tokio::time::timeout(ANSWER_WITHIN, call)
        .await
        .map_err(|_| Status::unavailable("the Kubernetes API did not answer in time"))
}

/// A write that failed. Refusals by the API's rules are the caller's to see; the rest is worth a retry.
fn api_failed(verb: &'static str, name: &str, error: &kube::Error) -> Status {
    let cause = crate::error::chain(error);
    tracing::warn!(server = name, verb, error = cause, "server not written");
    match error {
        kube::Error::Api(status) if status.is_invalid() => {
            Status::invalid_argument(format!("failed to {verb} server {name}: {cause}"))
        }
        _ => Status::unavailable(format!("failed to {verb} server {name}")),
    }
}

async fn record_registration(client: &Client, server: &Server) {
    let name = server.metadata.name.clone().unwrap_or_default();
    let now = Timestamp::now();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(EVENT_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(Server::api_version(&()).into_owned()),
            kind: Some(Server::kind(&()).into_owned()),
            name: Some(name.clone()),
            uid: server.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        reason: Some("Server Registration".to_owned()),
        message: Some("Server auto-registered via API.".to_owned()),
        type_: Some("Normal".to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client.clone(), EVENT_NAMESPACE);
    // The Server is there; a lost event changes nothing.
    if let Ok(Err(error)) = within(events.create(&PostParams::default(), &event)).await {
        tracing::warn!(server = name, error = crate::error::chain(&error), "event not recorded");
    }
}

impl Handler {
    async fn create_server(
        &self,
        request: tonic::Request<pb::CreateServerRequest>,
    ) -> Result<pb::CreateServerResponse, Status> {
        let client_address = request.extensions().get::<Connection>().map(|connection| connection.peer);
        let pb::CreateServerRequest { hardware, hostname } = request.into_inner();
        let hardware = hardware.ok_or_else(|| Status::invalid_argument("hardware is missing"))?;
        let uuid = hardware.system.as_ref().map_or("", |system| system.uuid.as_str());
        let name = decide::server_name(uuid).map_err(|error| {
            tracing::warn!(client = ?client_address, %error, "registration refused");
            Status::invalid_argument(error.to_string())
        })?;
        let hostname =
            Some(wire::text(&hostname)).filter(|text| text.len() <= MAX_HOSTNAME).unwrap_or_default();
        let client = self.client()?;
        let server = match self.register(&client, &name, wire::hardware(&hardware, &name), &hostname).await? {
            Registration::Known(server) => {
                tracing::info!(server = name, client = ?client_address, "known machine called");
                server
            }
            Registration::Created(server) => {
                self.metrics.registrations.increment();
                tracing::info!(server = name, client = ?client_address, hostname, accepted = server.spec.accepted, "machine registered");
                record_registration(&client, &server).await;
                server
            }
        };
        self.orders(&client, &server).await
    }

    async fn reconcile_addresses(
        &self,
        request: pb::ReconcileServerAddressesRequest,
    ) -> Result<pb::ReconcileServerAddressesResponse, Status> {
        let pb::ReconcileServerAddressesRequest { uuid, address } = request;
        let name = decide::server_name(&uuid).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let client = self.client()?;
        let server = self.server(&client, &name).await?;
        let known = server.status.map(|status| status.addresses).unwrap_or_default();
        let changed = decide::addresses(&known, &address)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(addresses) = changed {
            let servers: Api<Server> = Api::all(client);
            let patch =
                json!({ "metadata": { "uid": server.metadata.uid }, "status": { "addresses": addresses } });
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            within(servers.patch_status(&name, &params, &Patch::Merge(patch)))
                .await?
                .map_err(|error| api_failed("update", &name, &error))?;
            tracing::info!(server = name, addresses = address.len(), "addresses recorded");
        }
        Ok(pb::ReconcileServerAddressesResponse {})
    }

    fn count<T>(&self, result: Result<T, Status>) -> Result<tonic::Response<T>, Status> {
        if result.is_err() {
            self.metrics.agent_failures.increment();
        }
        result.map(tonic::Response::new)
    }
}

#[tonic::async_trait]
impl Agent for Handler {
    async fn create_server(
        &self,
        request: tonic::Request<pb::CreateServerRequest>,
    ) -> Result<tonic::Response<pb::CreateServerResponse>, Status> {
        self.count(Box::pin(Handler::create_server(self, request)).await)
    }

    async fn reconcile_server_addresses(
        &self,
        request: tonic::Request<pb::ReconcileServerAddressesRequest>,
    ) -> Result<tonic::Response<pb::ReconcileServerAddressesResponse>, Status> {
        self.count(self.reconcile_addresses(request.into_inner()).await)
    }

    async fn mark_server_as_wiped(
        &self,
        _request: tonic::Request<pb::MarkServerAsWipedRequest>,
    ) -> Result<tonic::Response<pb::MarkServerAsWipedResponse>, Status> {
        self.count(Err(Status::failed_precondition(
            "no wipe was ordered: this release never marks a server clean",
        )))
    }

    async fn heartbeat(
        &self,
        _request: tonic::Request<pb::HeartbeatRequest>,
    ) -> Result<tonic::Response<pb::HeartbeatResponse>, Status> {
        self.count(Err(Status::failed_precondition("no wipe was ordered: there is nothing to keep alive")))
    }

    async fn update_bmc_info(
        &self,
        _request: tonic::Request<pb::UpdateBmcInfoRequest>,
    ) -> Result<tonic::Response<pb::UpdateBmcInfoResponse>, Status> {
        self.count(Err(Status::unimplemented("this release does not take over management controllers")))
    }
}
