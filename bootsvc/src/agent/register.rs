//! `CreateServer`: registers a machine, refreshes its inventory, and says what its agent is to do.
//!
//! A new Server gets the record "never used" only from the very call that created it. It must never write
//! that record on an object that somebody else made, or on one that is bound.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bloomery_agent_api as pb;
use bloomery_api::decision::agent::{self as orders, AgentOptions, AgentOrders, WipeOrder};
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskState, UNKNOWN_AFTER_RESTORE_ANNOTATION};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::plane::{Authority, accepts_unknown};
use bloomery_api::server::FINALIZER;
use bloomery_api::{Server, ServerBinding, ServerSpec};
use kube::api::{Patch, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tonic::Status;

use super::objects::{
    ATTEMPTS, FIELD_MANAGER, Machine, Writers, Written, api_failed, params, record, within,
};
use super::serve::{Handler, Shown};
use super::{decide, wire};
use crate::boots::{Caller, Order, Problem};
use crate::events::Happening;
use crate::tokens::CheckError;

/// Longest host name (RFC 1035).
const MAX_HOSTNAME: usize = 253;
/// Pause before a write is tried again; the next is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// Times a creation is tried whose answer does not come.
const CREATE_ATTEMPTS: u32 = 4;
/// Status codes from here on leave open whether the object was created.
const SERVER_ERRORS: u16 = 500;
/// Servers remembered that still lack the record of their creation.
const MAX_UNRECORDED: usize = 16_384;

/// Servers (by uid) that we created and whose record could not be written yet.
#[derive(Debug, Default)]
pub(super) struct Unrecorded(Mutex<HashSet<String>>);

impl Unrecorded {
    fn set(&self, uid: Option<&str>, unrecorded: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(uid) = uid else { return };
        if !unrecorded {
            all.remove(uid);
        } else if all.len() < MAX_UNRECORDED {
            all.insert(uid.to_owned());
        }
    }

    fn has(&self, uid: Option<&str>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uid.is_some_and(|uid| all.contains(uid))
    }
}

/// What a machine says of itself.
struct Applicant {
    name: String,
    hardware: HardwareInformation,
    hostname: String,
    peer: Option<SocketAddr>,
}

impl Handler {
    pub(super) async fn create_server(
        self,
        request: pb::CreateServerRequest,
        shown: Shown,
    ) -> Result<pb::CreateServerResponse, Status> {
        let pb::CreateServerRequest { hardware, hostname } = request;
        let peer = shown.peer;
        let hardware = hardware.ok_or_else(|| Status::invalid_argument("hardware is missing"))?;
        let uuid = hardware.system.as_ref().map_or("", |system| system.uuid.as_str());
        let name = decide::server_name(uuid).map_err(|error| {
            tracing::warn!(client = ?peer, %error, "registration refused");
            Status::invalid_argument(error.to_string())
        })?;
        let hardware = wire::hardware(&hardware, &name);
        let hostname =
            Some(wire::text(&hostname)).filter(|text| text.len() <= MAX_HOSTNAME).unwrap_or_default();
        let client = self.client()?;
        if let Some(peer) = peer {
            self.means.trace.agent_hello(&name, peer.ip());
        }
        let authority = self.acting().await?;
        let applicant = Applicant { name, hardware, hostname, peer };
        let machine = Box::pin(self.register(&client, applicant, authority)).await?;
        let name = machine.server.metadata.name.as_deref().unwrap_or_default();
        let checked = self.identify(name, &shown).await;
        let response = self.orders(&machine, checked);
        self.recent.put(name, machine.server.clone(), Instant::now());
        Ok(response)
    }

    /// The machine's Server, created or brought up to date.
    async fn register(
        &self,
        client: &Client,
        applicant: Applicant,
        authority: Authority,
    ) -> Result<Machine, Status> {
        let Applicant { name, hardware, hostname, peer } = applicant;
        let (server, binding) = self.look(client, &name).await?;
        let server = match server {
            Some(server) => {
                tracing::info!(server = name, client = ?peer, "known machine called");
                self.refresh(client, server, hardware).await?
            }
            None => match self.create(client, &name, hardware.clone(), &hostname).await? {
                Some(server) => {
                    self.means.metrics.registrations.increment();
                    tracing::info!(server = name, client = ?peer, hostname, accepted = server.spec.accepted, "machine registered");
                    self.means.events.record(registered(&server));
                    self.unrecorded.set(server.metadata.uid.as_deref(), true);
                    server
                }
                // Somebody was quicker, most likely this machine's own repeated call.
                None => match self.look(client, &name).await?.0 {
                    Some(server) => self.refresh(client, server, hardware).await?,
                    None => return Err(Status::unavailable(format!("server {name} came and went"))),
                },
            },
        };
        if self.unrecorded.has(server.metadata.uid.as_deref()) {
            return self.record_creation(client, Machine { server, binding, authority }).await;
        }
        Ok(Machine { server, binding, authority })
    }

    /// Creates the Server; `None` if it is there already and not by our doing.
    async fn create(
        &self,
        client: &Client,
        name: &str,
        hardware: HardwareInformation,
        hostname: &str,
    ) -> Result<Option<Server>, Status> {
        let look = self.means.authority.look().await;
        let restored = look.restored.as_deref();
        let accepted = accepts_unknown(self.options.auto_accept, &look.authority, restored);
        let spec = ServerSpec {
            hardware: Some(hardware),
            hostname: hostname.to_owned(),
            accepted,
            ..ServerSpec::default()
        };
        let mut wanted = Server::new(name, spec);
        wanted.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        if let Some(restored) = restored.filter(|_| self.options.auto_accept) {
            let mark = (UNKNOWN_AFTER_RESTORE_ANNOTATION.to_owned(), restored.to_owned());
            wanted.metadata.annotations = Some([mark].into());
        }
        let servers: Api<Server> = Api::all(client.clone());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut answer_was_lost = false;
        let mut pause = PAUSE;
        for _ in 0..CREATE_ATTEMPTS {
            match servers.create(&params, &wanted).await {
                Ok(server) => return Ok(Some(server)),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    if !answer_was_lost {
                        return Ok(None);
                    }
                    let found = self.look(client, name).await?.0;
                    return Ok(found.filter(|found| is_untouched(found, &wanted)));
                }
                Err(kube::Error::Api(status)) if status.code < SERVER_ERRORS => {
                    let error = kube::Error::Api(status);
                    return Err(api_failed("create", &format!("server {name}"), &error));
                }
                // It may have been created all the same: the next attempt tells.
                Err(error) => {
                    answer_was_lost = true;
                    tracing::warn!(
                        server = name,
                        error = crate::error::chain(&error),
                        "no answer to a registration"
                    );
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        Err(Status::unavailable(format!("failed to create server {name}")))
    }

    /// Writes the record "never used" on a Server that we created.
    async fn record_creation(&self, client: &Client, mut machine: Machine) -> Result<Machine, Status> {
        let name = machine.server.metadata.name.clone().unwrap_or_default();
        let uid = machine.server.metadata.uid.clone();
        let Some(epoch) = machine.authority.epoch() else { return Ok(machine) };
        let mut pause = PAUSE;
        for attempt in 0..ATTEMPTS {
            if has_record(&machine.server) || machine.binding.is_some() || machine.server.metadata.uid != uid
            {
                self.unrecorded.set(uid.as_deref(), false);
                return Ok(machine);
            }
            match record(client, &machine.server, DiskState::NeverUsed, epoch, Writers::Forget).await {
                Ok(Written::Done(server)) => {
                    self.unrecorded.set(uid.as_deref(), false);
                    return Ok(Machine { server: *server, ..machine });
                }
                Ok(Written::Changed) => {}
                Err(error) => {
                    tracing::warn!(server = name, attempt, %error, "record of a new server not written");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
            machine = self.machine(client, &name).await?;
        }
        tracing::warn!(
            server = name,
            "record of a new server not written; tried again when the machine calls"
        );
        Ok(machine)
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
        let missing = server
            .spec
            .hardware
            .as_ref()
            .map_or_else(Vec::new, |known| decide::missing_disks(known, &hardware));
        let unwritten = || Status::internal("failed to write the inventory");
        let hardware = serde_json::to_value(&hardware).map_err(|_| unwritten())?;
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": server.metadata.uid },
            { "op": "add", "path": "/spec/hardware", "value": hardware },
        ]);
        let patch = serde_json::from_value(patch).map_err(|_| unwritten())?;
        let servers: Api<Server> = Api::all(client.clone());
        let patched = within(servers.patch(&name, &params(), &Patch::Json::<()>(patch))).await?;
        patched
            .inspect(|server| {
                tracing::info!(server = name, "inventory refreshed");
                if !missing.is_empty() {
                    let missing = super::wire::text(&missing.join(", "));
                    tracing::warn!(server = name, missing, "disks are gone");
                    let text = format!("Disks are gone, and are not wiped should they come back: {missing}.");
                    self.means.events.record(Happening::of(server, "Server Registration", text).warning());
                }
            })
            .map_err(|error| api_failed("update", &format!("server {name}"), &error))
    }

    /// What the agent is told; what it is told to do is remembered for its boot.
    fn orders(&self, machine: &Machine, checked: Result<Caller, CheckError>) -> pb::CreateServerResponse {
        let options = AgentOptions {
            auto_bmc_setup: self.options.auto_bmc_setup,
            insecure_wipe: self.options.insecure_wipe,
        };
        let binding: Option<&ServerBinding> = machine.binding.as_ref();
        let mut orders = orders::agent(&machine.server, binding, &machine.authority, options);
        let name = machine.server.metadata.name.as_deref().unwrap_or_default();
        let problem = match checked {
            Ok(caller) if self.remember(&caller, machine, &orders) => {
                orders.setup_bmc |= self.is_half_set_up(&caller, machine);
                None
            }
            Ok(_) => Some(CheckError::Problem(Problem::Replaced)),
            Err(error) => Some(error),
        };
        let response = match &problem {
            None => self.told(&orders),
            Some(error) => without_token(&orders, error),
        };
        tracing::info!(
            server = name,
            wipe = response.wipe,
            setup_bmc = response.setup_bmc,
            restart = response.restart,
            reason = response.message,
            "agent told what to do"
        );
        response
    }

    /// Notes the orders in the caller's boot; false when that is over.
    fn remember(&self, caller: &Caller, machine: &Machine, orders: &AgentOrders) -> bool {
        let noted = self.means.tokens.with(caller, |memory| {
            memory.order = match &orders.wipe {
                WipeOrder::Wipe(record) => {
                    self.means.metrics.wipes_ordered.increment();
                    Some(Order { record: record.clone(), server_uid: machine.server.metadata.uid.clone() })
                }
                WipeOrder::Refuse(_) => None,
            };
            if orders.setup_bmc {
                memory.bmc.get_or_insert_default();
            }
        });
        noted.is_some()
    }

    fn told(&self, orders: &AgentOrders) -> pb::CreateServerResponse {
        let (wipe, reason) = reason(orders);
        pb::CreateServerResponse {
            wipe,
            insecure_wipe: orders.insecure_wipe,
            setup_bmc: orders.setup_bmc,
            reboot_timeout: if wipe { self.options.reboot_timeout.as_secs_f64() } else { 0.0 },
            restart: orders.restart,
            message: reason.to_owned(),
            ..pb::CreateServerResponse::default()
        }
    }
}

fn reason(orders: &AgentOrders) -> (bool, &'static str) {
    match &orders.wipe {
        WipeOrder::Wipe(_) => (true, "its disks are wiped"),
        WipeOrder::Refuse(refusal) => (false, refusal.message()),
    }
}

/// The answer to an agent that is not known to be the machine's: it is registered, and told to do nothing but
/// to start over where that helps.
fn without_token(orders: &AgentOrders, error: &CheckError) -> pb::CreateServerResponse {
    let (wipe, reason) = reason(orders);
    let ordered = wipe || orders.setup_bmc;
    let curable = matches!(error, CheckError::Problem(problem) if problem.is_cured_by_a_restart());
    let message = if ordered {
        format!("{}: nothing is written", crate::error::chain(error))
    } else {
        reason.to_owned()
    };
    pb::CreateServerResponse {
        restart: orders.restart || (ordered && curable),
        message,
        ..pb::CreateServerResponse::default()
    }
}

/// The event of a new Server; a warning if it waits for a person because of a restore.
fn registered(server: &Server) -> Happening {
    const REASON: &str = "Server Registration";
    let annotations = server.metadata.annotations.as_ref();
    let Some(restored) = annotations.and_then(|all| all.get(UNKNOWN_AFTER_RESTORE_ANNOTATION)) else {
        return Happening::of(server, REASON, "Server auto-registered via API.");
    };
    tracing::warn!(server = server.metadata.name, restored, "not accepted: unknown to the restored state");
    let message = format!(
        "Server auto-registered via API, but not accepted: it is not known to the restored state ({restored}). A \
         cluster may use it; look at it before you set spec.accepted to true."
    );
    Happening::of(server, REASON, message).warning()
}

fn has_record(server: &Server) -> bool {
    server.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(DISKS_ANNOTATION))
}

/// Whether `found` is what we asked to be created, and nobody but we wrote it.
fn is_untouched(found: &Server, wanted: &Server) -> bool {
    let writers = found.metadata.managed_fields.as_deref().unwrap_or_default();
    found.spec == wanted.spec
        && found.metadata.finalizers == wanted.metadata.finalizers
        && !has_record(found)
        && !writers.is_empty()
        && writers.iter().all(|writer| writer.manager.as_deref() == Some(FIELD_MANAGER))
}
