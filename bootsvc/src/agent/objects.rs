//! The objects of the machine that calls: taken from the caches, written only as they were read.
//!
//! Every write carries the uid and the resource version that it was decided on; when the object changed in
//! between, the caller reads it from the API and decides again. It must never write on top of what it has not seen.

use std::sync::Arc;

use bloomery_api::decision::identity::{Conflict, Marks};
use bloomery_api::decision::status::{self, PowerOutcome};
use bloomery_api::decision::{self, Standing};
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskRecord, Entry};
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::Authority;
use bloomery_api::{Server, ServerBinding, ServerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tonic::Status;

use super::serve::Handler;
use crate::kubernetes::{ANSWER_WITHIN, get};
use crate::neighbours::Seen;
use crate::servers::Unlisted;
use crate::writes::{self, Part, WriteError};
pub(super) use crate::writes::{FIELD_MANAGER, Written, params};

/// Times a write is decided anew when its object changed: the controllers write a machine a few times in a row.
pub(super) const ATTEMPTS: u32 = 8;

/// A machine as it is on record now.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) server: Arc<Server>,
    pub(super) binding: Option<Arc<ServerBinding>>,
    pub(super) authority: Authority,
    pub(super) conflict: Option<Conflict>,
}

impl Machine {
    /// As decisions take it.
    pub(super) fn view(&self) -> decision::Machine<'_> {
        decision::Machine {
            server: &self.server,
            binding: self.binding.as_deref(),
            authority: &self.authority,
            conflict: self.conflict.as_ref(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.view().standing()
    }
}

/// Where the objects of a machine are looked up. A write that meets a later version tells that the caches are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The caches, and the API for what they do not have.
    Caches,
    /// The API.
    Api,
}

impl Source {
    /// That of an attempt: the first is made on what is at hand.
    pub(super) const fn of(attempt: u32) -> Self {
        if attempt == 0 { Self::Caches } else { Self::Api }
    }
}

impl Handler {
    /// The machine, which must be registered, on a plane that must be the one that acts.
    pub(super) async fn machine(
        &self,
        client: &Client,
        name: &str,
        source: Source,
    ) -> Result<Machine, Status> {
        let authority = self.acting().await?;
        let server = self.server(client, name, source).await?;
        let binding = self.binding(client, name, source).await?;
        self.compared(server, binding, authority)
    }

    /// The Server, which must be there.
    pub(super) async fn server(
        &self,
        client: &Client,
        name: &str,
        source: Source,
    ) -> Result<Arc<Server>, Status> {
        if source == Source::Caches
            && let Some(known) = self.services.objects.servers.known(name)
        {
            return Ok(known.server);
        }
        let server = found(get::<Server>(client, name).await, "Server")?;
        let server = server.ok_or_else(|| Status::not_found(format!("server {name} is not registered")))?;
        self.services.objects.servers.note(&server);
        Ok(Arc::new(server))
    }

    /// The binding, if there is one.
    pub(super) async fn binding(
        &self,
        client: &Client,
        name: &str,
        source: Source,
    ) -> Result<Option<Arc<ServerBinding>>, Status> {
        match (source, self.services.objects.bindings.get(name)) {
            (Source::Caches, Lookup::Found(binding)) => Ok(Some(binding)),
            (Source::Caches, Lookup::NotFound) => Ok(None),
            (Source::Api, _) | (_, Lookup::Failed) => {
                Ok(found(get(client, name).await, "ServerBinding")?.map(Arc::new))
            }
        }
    }

    /// The machine, compared with all others.
    pub(super) fn compared(
        &self,
        server: Arc<Server>,
        binding: Option<Arc<ServerBinding>>,
        authority: Authority,
    ) -> Result<Machine, Status> {
        let conflict = self.services.objects.servers.conflict(&server, &authority).map_err(unlisted)?;
        Ok(Machine { server, binding, authority, conflict })
    }

    /// Writes the whole status that follows from this one, if the Server is still the one that was read.
    pub(super) async fn write_status(
        &self,
        client: &Client,
        machine: &Machine,
        status: ServerStatus,
    ) -> Result<Written, Status> {
        let mut seen = Server::clone(&machine.server);
        seen.status = Some(status);
        let view = decision::Machine { server: &seen, ..machine.view() };
        let decided = status::status(&view, None, &PowerOutcome::unasked(&seen), &now());
        let written = merge(client, &machine.server, body(&decided.status), Part::Status).await?;
        if let Written::Done(server) = &written {
            self.services.objects.servers.note(server);
        }
        Ok(written)
    }
}

/// Every field, so that none that became empty stays, but whether the machine is in use: that is the controllers' word.
fn body(status: &ServerStatus) -> Value {
    let ServerStatus { ready, in_use: _, is_clean, conditions, addresses, power, contents } = status;
    json!({ "status": {
        "ready": ready, "isClean": is_clean, "conditions": conditions, "addresses": addresses, "power": power,
        "contents": contents,
    } })
}

/// Whether nothing seen of a client speaks against it that it is the machine of this Server; one without cards on record
/// tells nothing.
pub(crate) fn may_be_its_card(server: &Server, seen: &Seen) -> bool {
    let cards = Marks::of_server(server).cards;
    cards.is_empty() || seen.may_have_one_of(&cards)
}

/// The status that is on record.
pub(super) fn status_of(server: &Server) -> ServerStatus {
    server.status.clone().unwrap_or_default()
}

/// Nobody can tell which machine it is, for now.
pub(super) fn unlisted(error: Unlisted) -> Status {
    Status::unavailable(error.to_string())
}

fn found<T>(lookup: Lookup<T>, kind: &'static str) -> Result<Option<T>, Status> {
    match lookup {
        Lookup::Found(object) => Ok(Some(object)),
        Lookup::NotFound => Ok(None),
        Lookup::Failed => Err(Status::unavailable(format!("failed to look up the machine's {kind}"))),
    }
}

/// The answer when an object kept changing under all attempts.
pub(super) fn contended(name: &str) -> Status {
    Status::unavailable(format!("server {name} keeps changing: try again"))
}

/// Waits for the API no longer than agents wait for us.
pub(super) async fn within<T>(call: impl Future<Output = T>) -> Result<T, Status> {
    tokio::time::timeout(ANSWER_WITHIN, call).await.map_err(|_| late())
}

fn late() -> Status {
    Status::unavailable("the Kubernetes API did not answer in time")
}

/// A write that failed. Refusals by the API's rules are the caller's to see; the rest is worth a retry.
pub(super) fn api_failed(verb: &'static str, what: &str, error: &kube::Error) -> Status {
    let cause = bloomery_base::chain(error);
    tracing::warn!(object = what, verb, error = cause, "object not written");
    match error {
        kube::Error::Api(status) if status.is_invalid() => {
            Status::invalid_argument(format!("failed to {verb} {what}: {cause}"))
        }
        _ => Status::unavailable(format!("failed to {verb} {what}")),
    }
}

/// Merges `change` into that part of the Server, if it is still the one that was read.
async fn merge(client: &Client, server: &Server, change: Value, part: Part) -> Result<Written, Status> {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    writes::merge(client, server, change, part).await.map_err(|error| match error {
        WriteError::Timeout => late(),
        WriteError::Api(error) => api_failed("update", &format!("server {name}"), &error),
    })
}

/// Merges into the object itself.
pub(super) async fn merge_object(client: &Client, server: &Server, change: Value) -> Result<Written, Status> {
    merge(client, server, change, Part::Object).await
}

/// Puts a new record of the disks on the Server. Of a Server that nobody else wrote, who wrote which field
/// (`metadata.managedFields`) goes with it, and the API starts none until somebody applies (server-side apply): it would
/// be half of the object, copied with every write and to every watcher.
pub(super) async fn record(
    client: &Client,
    server: &Server,
    entry: Entry<'_>,
    (authority, id): (&Authority, &str),
    is_ours: bool,
) -> Result<Written, Status> {
    let record = DiskRecord::new(server, entry, authority, id, &now());
    let record = record
        .ok_or_else(|| Status::unavailable("this plane cannot sign records: its key is not at hand"))?;
    let mut change = json!({ "metadata": { "annotations": { DISKS_ANNOTATION: record.to_annotation() } } });
    if is_ours {
        // One empty entry is the API's word for it; an empty list would mean no change.
        change["metadata"]["managedFields"] = json!([{}]);
    }
    merge_object(client, server, change).await
}

/// The time of a condition or a record.
pub(super) fn now() -> Time {
    Time(Timestamp::now())
}
