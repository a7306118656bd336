//! A machine without a Server gets one: what it is made with, and the record "never used".
//!
//! A new Server gets that record only if it was created by this process for a machine that nothing on record speaks of.
//! It must never write it on an object that somebody else made, or on one that is bound.

use std::time::{Duration, Instant};

use bloomery_api::contents::Contents;
use bloomery_api::decision::identity::{Identity, SYSTEM_UUID_ANNOTATION};
use bloomery_api::decision::registration::{Held, may_be_named, registration};
use bloomery_api::decision::unknown::UnknownMachines;
use bloomery_api::evidence::{
    DISKS_ANNOTATION, DiskRecord, Entry, Evidence, UNKNOWN_AFTER_RESTORE_ANNOTATION,
};
use bloomery_api::exempt::ExemptDisks;
use bloomery_api::plane::{Authority, PLANE_LABEL};
use bloomery_api::server::FINALIZER;
use bloomery_api::trust::Trust;
use bloomery_api::{Server, ServerSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tonic::Status;

use super::objects::{FIELD_MANAGER, Source, Written, api_failed, now, record, unlisted};
use super::register::Applicant;
use super::serve::Handler;
use super::strangers::MAX_UNACCEPTED;
use crate::admitted;
use crate::events::Happening;

/// Pause before a write is tried again; the next is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// Times a creation is tried whose answer does not come.
const CREATE_ATTEMPTS: u32 = 4;
/// Status codes from here on leave open whether the object was created.
const SERVER_ERRORS: u16 = 500;
/// A Server to be made.
struct Wanted {
    server: Server,
    /// The plane that it is made by.
    authority: Authority,
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
        if self.services.objects.servers.identify(&applicant.marks, &applicant.authority).map_err(unlisted)?
            != *identity
        {
            return Ok(None);
        }
        let Wanted { server: wanted, authority, never_used } = self.wanted(applicant, identity).await?;
        if !wanted.spec.accepted && self.services.objects.servers.unaccepted() >= MAX_UNACCEPTED {
            self.services.edge.metrics.registrations_refused_full.inc();
            tracing::warn!(client = ?applicant.peer, limit = MAX_UNACCEPTED, "registration refused: too many Servers wait for acceptance");
            return Err(Status::resource_exhausted(format!(
                "{MAX_UNACCEPTED} Servers wait for acceptance already: accept or delete some"
            )));
        }
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        // Its next boot would be that of the binding's node, whichever machine it is.
        let binding = self.services.objects.bindings.get(name);
        may_be_named(binding.as_deref()).map_err(|held| unnamed(held, name, applicant))?;
        let created = match self.create(client, wanted).await? {
            Some(server) if never_used => Some(self.record_creation(client, server, &authority).await?),
            created => created,
        };
        if let Some(server) = &created {
            self.services.objects.servers.note(server);
            let Applicant { peer, hostname, .. } = applicant;
            let server_name = &server.metadata.name;
            self.services.edge.metrics.registrations.inc();
            tracing::info!(server = server_name, client = ?peer, hostname, accepted = server.spec.accepted, "machine registered");
            self.services.events.record(registered(server, identity));
        }
        Ok(created)
    }

    /// Whether a machine that nobody knows may be registered at all, and now.
    fn admit(&self, applicant: &Applicant) -> Result<(), Status> {
        let machines = &self.services.machines;
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
            self.services.edge.metrics.registrations_refused_rate.inc();
            tracing::warn!(client = ?applicant.peer, "registration refused: too many at once");
            return Err(Status::resource_exhausted("too many registrations at once: call again later"));
        }
        Ok(())
    }

    async fn wanted(&self, applicant: &Applicant, identity: &Identity) -> Result<Wanted, Status> {
        let Applicant { uuid, marks, hardware, hostname, .. } = applicant;
        let look = self.services.authority.look().await;
        let restored = look.restored.as_deref();
        let contents = Contents::of(Some(hardware), &ExemptDisks::default()).class;
        let made = registration(
            self.services.sidero.auto_accept_servers,
            &look.authority,
            restored,
            contents,
            identity,
        );
        let name = self.services.objects.servers.new_name(marks, &look.authority).map_err(unlisted)?;
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
        if made.never_used {
            let id = bloomery_plane::digits();
            if let Some(record) = DiskRecord::made_with(&server, contents, &look.authority, &id, &now()) {
                annotations.insert(DISKS_ANNOTATION.to_owned(), record.to_annotation());
            }
        }
        server.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Ok(Wanted { server, authority: look.authority, never_used: made.never_used })
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
                    let found = self.server(client, name, Source::Api).await?;
                    let is_ours = answer_was_lost && is_untouched(&found, &wanted);
                    return Ok(is_ours.then(|| Server::clone(&found)));
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

    /// Writes the record "never used" on a Server that we created, where the one that it was made with does not count:
    /// the clock of the API server is another.
    async fn record_creation(
        &self,
        client: &Client,
        server: Server,
        authority: &Authority,
    ) -> Result<Server, Status> {
        let counts = !matches!(Evidence::of(&server, authority), Evidence::Void(_) | Evidence::None);
        if counts {
            return Ok(server);
        }
        let name = server.metadata.name.as_deref();
        tracing::warn!(server = name, "the clocks of the boot services and of the API server differ");
        let contents = Contents::of(server.spec.hardware.as_ref(), &ExemptDisks::default()).class;
        let (entry, id) = (Entry::NeverUsed(contents), bloomery_plane::digits());
        match record(client, &server, entry, (authority, &id), true).await? {
            Written::Done(server) => Ok(*server),
            // Somebody else wrote it: it has no record by our doing any more.
            Written::Changed => Ok(server),
        }
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

/// Whether `found` is what we asked to be created, and nobody but we wrote it.
fn is_untouched(found: &Server, wanted: &Server) -> bool {
    let writers = found.metadata.managed_fields.as_deref().unwrap_or_default();
    found.spec == wanted.spec
        && found.metadata.finalizers == wanted.metadata.finalizers
        && found.metadata.annotations == wanted.metadata.annotations
        && !writers.is_empty()
        && writers.iter().all(|writer| writer.manager.as_deref() == Some(FIELD_MANAGER))
}
