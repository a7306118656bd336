//! A machine without a Server gets one: what it is made with, and the record "never used".
//!
//! A new Server gets that record only if it was created by this process for a machine that nothing on record speaks of.
//! It must never write it on an object that somebody else made, or on one that is bound.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bloomery_api::contents::Contents;
use bloomery_api::decision::identity::{Identity, SYSTEM_UUID_ANNOTATION};
use bloomery_api::decision::registration::{Held, may_be_named, registration};
use bloomery_api::decision::unknown::UnknownMachines;
use bloomery_api::evidence::{DISKS_ANNOTATION, Entry, UNKNOWN_AFTER_RESTORE_ANNOTATION};
use bloomery_api::exempt::ExemptDisks;
use bloomery_api::plane::PLANE_LABEL;
use bloomery_api::server::FINALIZER;
use bloomery_api::trust::Trust;
use bloomery_api::{Server, ServerSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tonic::Status;

use super::objects::{ATTEMPTS, FIELD_MANAGER, Machine, Writers, Written, api_failed, record, unlisted};
use super::register::Applicant;
use super::serve::Handler;
use super::strangers::MAX_UNACCEPTED;
use crate::events::Happening;
use crate::http::{admitted, lookup};

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

    pub(super) fn has(&self, uid: Option<&str>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uid.is_some_and(|uid| all.contains(uid))
    }
}

/// A Server to be made.
struct Wanted {
    server: Server,
    /// Whether it gets the record "never used".
    never_used: bool,
}

impl Handler {
    /// Makes the Server of a machine that has none; `None` if it is there already and not by our doing.
    pub(super) async fn enlist(
        &self,
        client: &Client,
        applicant: &Applicant,
        identity: &Identity,
    ) -> Result<Option<Server>, Status> {
        self.admit(applicant)?;
        let _reserved = self.strangers.reserve(&applicant.marks).await;
        // What was noted before the place was taken counts.
        if self.means.servers.identify(&applicant.marks, &applicant.authority).map_err(unlisted)? != *identity
        {
            return Ok(None);
        }
        let Wanted { server: wanted, never_used } = self.wanted(applicant, identity).await?;
        if !wanted.spec.accepted && self.means.servers.unaccepted() >= MAX_UNACCEPTED {
            self.means.metrics.registrations_refused_full.increment();
            tracing::warn!(client = ?applicant.peer, limit = MAX_UNACCEPTED, "registration refused: too many Servers wait for acceptance");
            return Err(Status::resource_exhausted(format!(
                "{MAX_UNACCEPTED} Servers wait for acceptance already: accept or delete some"
            )));
        }
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        // Its next boot would be that of the binding's node, whichever machine it is.
        let binding = lookup::binding(client, name).await;
        may_be_named(binding.as_ref()).map_err(|held| unnamed(held, name, applicant))?;
        let created = self.create(client, wanted).await?;
        if let Some(server) = &created {
            self.means.servers.note(server);
            let Applicant { peer, hostname, .. } = applicant;
            let server_name = &server.metadata.name;
            self.means.metrics.registrations.increment();
            tracing::info!(server = server_name, client = ?peer, hostname, accepted = server.spec.accepted, "machine registered");
            self.means.events.record(registered(server, identity));
            self.unrecorded.set(server.metadata.uid.as_deref(), never_used);
        }
        Ok(created)
    }

    /// Whether a machine that nobody knows may be registered at all, and now.
    fn admit(&self, applicant: &Applicant) -> Result<(), Status> {
        let machines = &self.means.machines;
        let is_wanted = match machines.policy() {
            UnknownMachines::Agent => true,
            UnknownMachines::BootDisk | UnknownMachines::Ignore => false,
        };
        let cards: Vec<Option<&str>> = applicant.marks.cards.iter().map(|card| Some(card.as_str())).collect();
        let is_admitted = applicant.connection.is_none_or(|connection| {
            admitted::is_admitted(&machines.lists(), connection, &applicant.seen, &cards)
        });
        if !is_wanted || !is_admitted {
            tracing::info!(client = ?applicant.peer, policy = %machines.policy(), "registration refused: not to be served");
            return Err(Status::failed_precondition(
                "unknown machines like this one are not registered here",
            ));
        }
        let address = applicant.peer.map(|peer| peer.ip());
        if address.is_some_and(|address| !self.strangers.admit(address, Instant::now())) {
            self.means.metrics.registrations_refused_rate.increment();
            tracing::warn!(client = ?applicant.peer, "registration refused: too many at once");
            return Err(Status::resource_exhausted("too many registrations at once: call again later"));
        }
        Ok(())
    }

    async fn wanted(&self, applicant: &Applicant, identity: &Identity) -> Result<Wanted, Status> {
        let Applicant { uuid, marks, hardware, hostname, .. } = applicant;
        let look = self.means.authority.look().await;
        let restored = look.restored.as_deref();
        let contents = Contents::of(Some(hardware), &ExemptDisks::default()).class;
        let made = registration(self.options.auto_accept, &look.authority, restored, contents, identity);
        let name = self.means.servers.new_name(marks, &look.authority).map_err(unlisted)?;
        let name = name.ok_or_else(|| {
            Status::invalid_argument(format!(
                "another machine has system UUID {uuid}, and this one shows no network card to tell it by"
            ))
        })?;
        let spec = ServerSpec {
            hardware: Some(hardware.clone()),
            hostname: hostname.clone(),
            accepted: made.accepted,
            ..ServerSpec::default()
        };
        let mut server = Server::new(&name, spec);
        server.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        if let Some(plane) = look.authority.trust().map(Trust::plane).filter(|plane| !plane.is_empty()) {
            server.metadata.labels = Some([(PLANE_LABEL.to_owned(), plane.to_owned())].into());
        }
        let mut annotations = std::collections::BTreeMap::new();
        if let Some(restored) = restored.filter(|_| made.held_by_restore) {
            annotations.insert(UNKNOWN_AFTER_RESTORE_ANNOTATION.to_owned(), restored.to_owned());
        }
        if name != *uuid {
            annotations.insert(SYSTEM_UUID_ANNOTATION.to_owned(), uuid.clone());
        }
        server.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Ok(Wanted { server, never_used: made.never_used })
    }

    /// Creates the Server; `None` if it is there already and not by our doing.
    async fn create(&self, client: &Client, wanted: Server) -> Result<Option<Server>, Status> {
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        let servers: Api<Server> = Api::all(client.clone());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut answer_was_lost = false;
        let mut pause = PAUSE;
        for _ in 0..CREATE_ATTEMPTS {
            match servers.create(&params, &wanted).await {
                Ok(server) => return Ok(Some(server)),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let found = self.look(client, name).await?.0;
                    if let Some(found) = &found {
                        self.means.servers.note(found);
                    }
                    return Ok(found.filter(|found| answer_was_lost && is_untouched(found, &wanted)));
                }
                Err(kube::Error::Api(status)) if status.code < SERVER_ERRORS => {
                    let error = kube::Error::Api(status);
                    return Err(api_failed("create", &format!("server {name}"), &error));
                }
                // It may have been created all the same: the next attempt tells.
                Err(error) => {
                    answer_was_lost = true;
                    let error = bloomery_base::chain(&error);
                    tracing::warn!(server = name, error, "no answer to a registration");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        Err(Status::unavailable(format!("failed to create server {name}")))
    }

    /// Writes the record "never used" on a Server that we created.
    pub(super) async fn record_creation(
        &self,
        client: &Client,
        mut machine: Machine,
    ) -> Result<Machine, Status> {
        let name = machine.server.metadata.name.clone().unwrap_or_default();
        let uid = machine.server.metadata.uid.clone();
        let mut pause = PAUSE;
        for attempt in 0..ATTEMPTS {
            if has_record(&machine.server) || machine.binding.is_some() || machine.server.metadata.uid != uid
            {
                self.unrecorded.set(uid.as_deref(), false);
                return Ok(machine);
            }
            let contents = Contents::of(machine.server.spec.hardware.as_ref(), &ExemptDisks::default()).class;
            let entry = Entry::NeverUsed(contents);
            match record(client, &machine.server, entry, &machine.authority, Writers::Forget).await {
                Ok(Written::Done(server)) => {
                    self.unrecorded.set(uid.as_deref(), false);
                    self.means.servers.note(&server);
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
}

/// No Server is made under that name.
fn unnamed(held: Held, name: &str, applicant: &Applicant) -> Status {
    match held {
        Held::Bound => {
            tracing::warn!(server = name, client = ?applicant.peer, "registration refused: a ServerBinding of that name waits for its Server");
            Status::failed_precondition(format!(
                "a cluster has claimed {name} and its Server is gone: restore the Server, or delete the cluster's machine \
                 and its ServerBinding"
            ))
        }
        Held::CannotTell => Status::unavailable(format!("failed to look up ServerBinding {name}")),
    }
}

/// The event of a new Server; a warning if it waits for a person because of a restore, or because it may be another's.
fn registered(server: &Server, identity: &Identity) -> Happening {
    const REASON: &str = "Server Registration";
    if let Identity::Suspect { peers } = identity {
        let others: Vec<&str> = peers.iter().map(|peer| peer.server.as_str()).take(4).collect();
        let others = others.join(", ");
        let name = server.metadata.name.as_deref().unwrap_or_default();
        let message = format!(
            "Server auto-registered via API, but held: it may be the machine of {others}. If so: bloomery servers merge \
             {name} --into {others}; if they are two machines: bloomery servers split {name} {others}."
        );
        tracing::warn!(server = name, others, "registered and held: it shows marks of other machines");
        return Happening::of(server, REASON, message).warning();
    }
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
