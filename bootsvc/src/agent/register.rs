//! `CreateServer`: finds out which machine calls, registers it or brings its inventory up to date, and says what its
//! agent is to do.
//!
//! Which machine it is comes first, then the token, then what is written. It must never change a Server because of a
//! machine that is not known to be its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bloomery_agent_api as pb;
use bloomery_api::Server;
use bloomery_api::decision::identity::{Identity, Marks, OtherWhy};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::plane::Authority;
use kube::api::Patch;
use kube::{Api, Client};
use serde_json::json;
use tonic::Status;

use super::decide::{self, Calling};
use super::objects::{
    ATTEMPTS, Machine, Source, api_failed, contended, may_be_its_card, params, unlisted, within,
};
use super::serve::{Handler, Shown};
use super::wire;
use crate::boots::Caller;
use crate::connection::Connection;
use crate::events::Happening;
use crate::neighbours::Seen;
use crate::tokens::CheckError;
use crate::{conflicts, last_call};

/// What a machine says of itself, and what is seen of it.
pub(super) struct Applicant {
    pub(super) uuid: String,
    pub(super) marks: Marks,
    pub(super) hardware: HardwareInformation,
    pub(super) hostname: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) connection: Option<Connection>,
    pub(super) seen: Seen,
    pub(super) authority: Authority,
    /// Addresses; agents of upstream's report them by a call of their own.
    pub(super) addresses: Vec<pb::Address>,
}

impl Applicant {
    /// Whether the addresses go on record. An address of an accepted machine is one that others rely on: its token is
    /// needed. Of another, its own card is enough.
    pub(super) fn may_report_addresses(
        &self,
        machine: &Machine,
        checked: &Result<Caller, CheckError>,
    ) -> bool {
        let may_be_its_card = self.peer.is_some() && may_be_its_card(&machine.server, &self.seen);
        !self.addresses.is_empty() && (checked.is_ok() || (!machine.server.spec.accepted && may_be_its_card))
    }
}

/// A machine that called, and whether it is its present agent that did.
pub(super) struct Called {
    pub(super) machine: Machine,
    pub(super) checked: Result<Caller, CheckError>,
}

impl Handler {
    pub(super) async fn create_server(
        self,
        request: pb::CreateServerRequest,
        shown: Shown,
    ) -> Result<pb::CreateServerResponse, Status> {
        let applicant = self.applicant(request, &shown).await?;
        let client = self.client()?;
        let called = Box::pin(self.register(&client, &applicant, &shown)).await?;
        let server = called.machine.server.clone();
        self.services.tokens.keep(server.metadata.name.as_deref().unwrap_or_default());
        let response = self.instruct(&client, &applicant, called).await?;
        if let Some(server) = last_call::note(&self.services.kubernetes, &applicant.authority, &server).await
        {
            self.services.objects.servers.note(&server);
        }
        Ok(response)
    }

    /// Reads and bounds what was sent.
    async fn applicant(&self, request: pb::CreateServerRequest, shown: &Shown) -> Result<Applicant, Status> {
        let pb::CreateServerRequest { hardware, hostname, addresses } = request;
        let peer = shown.peer;
        let hardware = hardware.ok_or_else(|| Status::invalid_argument("hardware is missing"))?;
        let uuid = hardware.system.as_ref().map_or("", |system| system.uuid.as_str());
        let uuid = decide::server_name(uuid).map_err(|error| {
            tracing::warn!(client = ?peer, %error, "registration refused");
            Status::invalid_argument(error.to_string())
        })?;
        let hardware = wire::hardware(&hardware, &uuid);
        let size = wire::size(&hardware);
        if size > wire::MAX_INVENTORY {
            tracing::warn!(client = ?peer, uuid, size, limit = wire::MAX_INVENTORY, "registration refused: inventory too large");
            return Err(Status::invalid_argument(format!(
                "the inventory has {size} octets; at most {} are taken",
                wire::MAX_INVENTORY
            )));
        }
        if let Some(peer) = peer {
            self.services.edge.trace.agent_hello(&uuid, peer.ip());
        }
        let seen = match peer {
            Some(peer) => self.services.neighbours.seen(peer).await,
            None => Seen::Unknown,
        };
        Ok(Applicant {
            marks: Marks::of_hardware(Some(&uuid), &hardware),
            uuid,
            hardware,
            hostname: decide::hostname(&hostname).unwrap_or_default(),
            peer,
            connection: shown.connection,
            seen,
            authority: self.acting().await?,
            addresses,
        })
    }

    /// The machine's Server, created or brought up to date.
    async fn register(
        &self,
        client: &Client,
        applicant: &Applicant,
        shown: &Shown,
    ) -> Result<Called, Status> {
        let Applicant { uuid, marks, authority, peer, .. } = applicant;
        for _ in 0..ATTEMPTS {
            let identity = self.services.objects.servers.identify(marks, authority).map_err(unlisted)?;
            let called = match &identity {
                Identity::Same { server, by: _ } => self.known(client, server, applicant, shown).await?,
                Identity::New | Identity::Suspect { .. } => {
                    match self.enlist(client, applicant, &identity).await? {
                        Some(server) => {
                            conflicts::note(&self.services, &identity, marks, authority).await;
                            let name = server.metadata.name.clone().unwrap_or_default();
                            let binding = self.binding(client, &name, Source::Caches).await?;
                            let machine = self.compared(Arc::new(server), binding, authority.clone())?;
                            let checked = self.identify(&name, shown).await;
                            Some(Called { machine, checked })
                        }
                        // Somebody was quicker, most likely this machine's own repeated call.
                        None => None,
                    }
                }
                Identity::Other { server, why } => {
                    tracing::warn!(server, client = ?peer, why = why.message(), "registration refused: another machine has this UUID");
                    conflicts::note(&self.services, &identity, marks, authority).await;
                    return Err(another(uuid, server, *why, marks));
                }
                Identity::Unnamed => {
                    return Err(Status::invalid_argument(format!("system UUID {uuid} names no machine")));
                }
            };
            if let Some(called) = called {
                return Ok(called);
            }
        }
        Err(contended(uuid))
    }

    /// A machine that has a Server; `None` if that is not its own after all.
    async fn known(
        &self,
        client: &Client,
        name: &str,
        applicant: &Applicant,
        shown: &Shown,
    ) -> Result<Option<Called>, Status> {
        let Applicant { marks, authority, hardware, peer, .. } = applicant;
        let Some(known) = self.services.objects.servers.known(name) else {
            return Err(Status::unavailable(format!("server {name} went away a moment ago: call again")));
        };
        let binding = self.binding(client, name, Source::Caches).await?;
        let machine = self.compared(known.server.clone(), binding, authority.clone())?;
        let identity = self.services.objects.servers.identify(marks, authority).map_err(unlisted)?;
        if identity.server() != Some(name) {
            return Ok(None);
        }
        tracing::info!(server = name, client = ?peer, "known machine called");
        let checked = self.identify(name, shown).await;
        if known.has_inventory(hardware) {
            return Ok(Some(Called { machine, checked }));
        }
        if !decide::may_change_inventory(calling(&machine, applicant, &checked)) {
            tracing::info!(server = name, client = ?peer, "inventory left as it is: not shown by the machine's present agent");
            return Ok(Some(Called { machine, checked }));
        }
        if checked.is_err() && peer.is_some_and(|peer| !self.strangers.admit(peer.ip(), Instant::now())) {
            self.services.edge.metrics.registrations_refused_rate.inc();
            return Err(Status::resource_exhausted("too many registrations at once: call again later"));
        }
        let server = self.refresh(client, &machine.server, hardware).await?;
        self.services.objects.servers.note(&server);
        let machine = self.compared(Arc::new(server), machine.binding, machine.authority)?;
        Ok(Some(Called { machine, checked }))
    }

    /// Writes the inventory of a known machine; nothing else of its spec changes.
    async fn refresh(
        &self,
        client: &Client,
        server: &Server,
        hardware: &HardwareInformation,
    ) -> Result<Server, Status> {
        let name = server.metadata.name.clone().unwrap_or_default();
        let known = server.spec.hardware.as_ref();
        let missing = known.map_or_else(Vec::new, |known| decide::missing_disks(known, hardware));
        let unwritten = || Status::internal("failed to write the inventory");
        let hardware = serde_json::to_value(hardware).map_err(|_| unwritten())?;
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
                    let missing = wire::text(&missing.join(", "));
                    tracing::warn!(server = name, missing, "disks are gone");
                    let text = format!("Disks are gone, and are not wiped should they come back: {missing}.");
                    self.services.events.record(Happening::of(server, "Server Registration", text).warning());
                }
            })
            .map_err(|error| api_failed("update", &format!("server {name}"), &error))
    }
}

fn calling(machine: &Machine, applicant: &Applicant, checked: &Result<Caller, CheckError>) -> Calling {
    let Applicant { marks, seen, .. } = applicant;
    let known = Marks::of_server(&machine.server);
    Calling {
        token: match checked {
            Ok(Caller { token: Some(_), .. }) => Some(true),
            Ok(Caller { token: None, .. }) => None,
            Err(_) => Some(false),
        },
        accepted: machine.server.spec.accepted,
        claimed: machine.standing().is_claimed(),
        shares_card: !known.cards.is_disjoint(&marks.cards),
        same_marks: known.cards == marks.cards && known.serial == marks.serial && !marks.cards.is_empty(),
        no_cards: known.cards.is_empty(),
        may_be_its_card: seen.may_have_one_of(&known.cards),
    }
}

/// The answer to a machine that shows another's UUID.
fn another(uuid: &str, server: &str, why: OtherWhy, marks: &Marks) -> Status {
    let card = marks.cards.first().map_or("CARD", String::as_str);
    Status::invalid_argument(format!(
        "another machine with system UUID {uuid} is registered ({}); if they are two machines: bloomery servers split \
         {server} {card}; if it is the same machine, with another board or cards: bloomery servers merge {card} --into \
         {server}",
        why.message()
    ))
}
