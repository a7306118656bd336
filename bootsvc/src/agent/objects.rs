//! The objects of the machine that calls: read at the moment of asking, written only as they were read.
//!
//! Every write carries the uid and the resource version that it was decided on; when the object changed in
//! between, the caller looks and decides again. It must never write on top of what it has not seen.

use bloomery_api::decision::identity::Conflict;
use bloomery_api::decision::{self, Lookup, Standing};
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskRecord, Entry};
use bloomery_api::plane::Authority;
use bloomery_api::{Server, ServerBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tonic::Status;

use super::serve::Handler;
use crate::http::lookup;
use crate::kubernetes::ANSWER_WITHIN;
use crate::servers::Unlisted;
use crate::writes::{self, Part, WriteError};
pub(super) use crate::writes::{FIELD_MANAGER, Written, params};

/// Times a write is decided anew when its object changed: the controllers write a machine a few times in a row.
pub(super) const ATTEMPTS: u32 = 8;

/// A machine as it is on record now.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) server: Server,
    pub(super) binding: Option<ServerBinding>,
    pub(super) authority: Authority,
    pub(super) conflict: Option<Conflict>,
}

impl Machine {
    /// As decisions take it.
    pub(super) fn view(&self) -> decision::Machine<'_> {
        decision::Machine {
            server: &self.server,
            binding: self.binding.as_ref(),
            authority: &self.authority,
            conflict: self.conflict.as_ref(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.view().standing()
    }
}

impl Handler {
    /// The Server and its binding; no Server is no error here.
    pub(super) async fn look(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<(Option<Server>, Option<ServerBinding>), Status> {
        let (server, binding) =
            tokio::join!(lookup::get::<Server>(client, name), lookup::binding(client, name));
        Ok((found(server, "Server")?, found(binding, "ServerBinding")?))
    }

    /// The Server alone, which must be there.
    pub(super) async fn server(&self, client: &Client, name: &str) -> Result<Server, Status> {
        found(lookup::get::<Server>(client, name).await, "Server")?.ok_or_else(|| unregistered(name))
    }

    /// The machine, which must be registered, on a plane that must be the one that acts.
    pub(super) async fn machine(&self, client: &Client, name: &str) -> Result<Machine, Status> {
        let authority = self.acting().await?;
        let (server, binding) = self.look(client, name).await?;
        let server = server.ok_or_else(|| unregistered(name))?;
        self.compared(server, binding, authority)
    }

    /// The machine, compared with all others.
    pub(super) fn compared(
        &self,
        server: Server,
        binding: Option<ServerBinding>,
        authority: Authority,
    ) -> Result<Machine, Status> {
        let conflict = self.means.servers.conflict(&server, &authority).map_err(unlisted)?;
        Ok(Machine { server, binding, authority, conflict })
    }
}

/// Nobody can tell which machine it is, for now.
pub(super) fn unlisted(error: Unlisted) -> Status {
    Status::unavailable(error.to_string())
}

fn found<T>(lookup: Lookup<T>, kind: &'static str) -> Result<Option<T>, Status> {
    match lookup {
        Lookup::Found(object) => Ok(Some(object)),
        Lookup::NotFound => Ok(None),
        Lookup::Failed => Err(away(&format!("failed to look up the machine's {kind}"))),
    }
}

fn unregistered(name: &str) -> Status {
    Status::not_found(format!("server {name} is not registered"))
}

fn away(message: &str) -> Status {
    Status::unavailable(message)
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
    away("the Kubernetes API did not answer in time")
}

/// A write that failed. Refusals by the API's rules are the caller's to see; the rest is worth a retry.
pub(super) fn api_failed(verb: &'static str, what: &str, error: &kube::Error) -> Status {
    let cause = bloomery_base::chain(error);
    tracing::warn!(object = what, verb, error = cause, "object not written");
    match error {
        kube::Error::Api(status) if status.is_invalid() => {
            Status::invalid_argument(format!("failed to {verb} {what}: {cause}"))
        }
        _ => away(&format!("failed to {verb} {what}")),
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

/// Merges into the status.
pub(super) async fn merge_status(client: &Client, server: &Server, status: Value) -> Result<Written, Status> {
    merge(client, server, json!({ "status": status }), Part::Status).await
}

/// What becomes of the API's own record of who wrote which field (`metadata.managedFields`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writers {
    /// It stays.
    Keep,
    /// It goes, and the API starts none until somebody applies (server-side apply): of a Server that we made it would
    /// be half of the object, copied with every write and to every watcher.
    Forget,
}

/// Puts a new record of the disks on the Server.
pub(super) async fn record(
    client: &Client,
    server: &Server,
    entry: Entry<'_>,
    authority: &Authority,
    writers: Writers,
) -> Result<Written, Status> {
    let record = DiskRecord::new(server, entry, authority, &bloomery_plane::digits(), &now());
    let record = record.ok_or_else(|| away("this plane cannot sign records: its key is not at hand"))?;
    let mut change = json!({ "metadata": { "annotations": { DISKS_ANNOTATION: record.to_annotation() } } });
    if writers == Writers::Forget {
        // One empty entry is the API's word for it; an empty list would mean no change.
        change["metadata"]["managedFields"] = json!([{}]);
    }
    merge_object(client, server, change).await
}

/// The time of a condition or a record.
pub(super) fn now() -> Time {
    Time(Timestamp::now())
}
