//! `MarkServerAsWiped`: the end of a wipe, believed only of an agent that shows the order to do it, while the
//! record that allowed it still stands.
//!
//! First the record, then the status that follows from it; a half-written pair is finished by the repeated
//! call. It must never call a machine clean that was bound, released or replaced since the order.

use std::sync::Arc;

use bloomery_agent_api as pb;
use bloomery_agent_api::disk_progress::State;
use bloomery_api::condition::{self, Condition};
use bloomery_api::decision::Standing;
use bloomery_api::decision::wiped::{self, Reporter, Verdict, WipedDisk};
use bloomery_api::evidence::Entry;
use bloomery_api::server::POWER_CYCLE;
use kube::Client;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Source, Written, contended, now, record, status_of};
use super::serve::{Handler, Shown, refused};
use super::{progress, wire};
use crate::boots::Caller;
use crate::events::Happening;
use crate::tokens::CheckError;

impl Handler {
    pub(super) async fn mark_wiped(
        self,
        request: pb::MarkServerAsWipedRequest,
        shown: Shown,
    ) -> Result<pb::MarkServerAsWipedResponse, Status> {
        let pb::MarkServerAsWipedRequest { uuid, disks, order } = request;
        let client = self.client()?;
        self.acting().await?;
        let (name, caller) = self.caller(&uuid, &shown).await?;
        for attempt in 0..ATTEMPTS {
            let source = Source::of(attempt);
            let machine = self.machine(&client, &name, source).await?;
            let order =
                self.services.tokens.order(&caller, &machine.server, &machine.authority, &order).await;
            let order = order.map_err(|error| refused(&name, &CheckError::from(error)))?;
            let left = left(&machine, &caller, &disks);
            let ended = match wiped::wiped(&machine.view(), order.as_ref()) {
                Verdict::Done => true,
                // The caches may be behind.
                Verdict::Refuse(_) if source == Source::Caches => false,
                Verdict::Record | Verdict::Finish if left.is_some() && source == Source::Caches => false,
                Verdict::Refuse(why) => {
                    tracing::warn!(server = name, why, "not marked as wiped");
                    return Err(Status::failed_precondition(format!("server {name}: {why}")));
                }
                Verdict::Record | Verdict::Finish if left.is_some() => {
                    return Err(self.not_all(&client, &machine, &disks, &left.unwrap_or_default()).await);
                }
                Verdict::Record => {
                    let id = order.map(|order| order.cleaned.0).unwrap_or_default();
                    self.write_clean(&client, &id, machine, &disks).await?
                }
                Verdict::Finish => self.write_wiped(&client, &machine, &disks).await?,
            };
            if ended {
                return Ok(pb::MarkServerAsWipedResponse {});
            }
        }
        Err(contended(&name))
    }

    /// A disk that is not wiped is reported, and the machine stays unclean (promise S4).
    async fn not_all(
        &self,
        client: &Client,
        machine: &Machine,
        disks: &[pb::DiskProgress],
        left: &str,
    ) -> Status {
        if machine.standing() == Standing::Dirty
            && progress::failures(disks).is_some()
            && let Err(error) = self.write_progress(client, machine, disks).await
        {
            return error;
        }
        Status::failed_precondition(format!("not all disks are wiped: {left}"))
    }

    /// The record, then the status; false if the Server changed meanwhile.
    async fn write_clean(
        &self,
        client: &Client,
        id: &str,
        machine: Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let Machine { server, binding, authority, conflict: _ } = machine;
        let name = server.metadata.name.as_deref().unwrap_or_default();
        let is_ours = self.services.objects.servers.known(name).is_some_and(|known| known.is_ours());
        let written = record(client, &server, Entry::Clean, (&authority, id), is_ours).await?;
        let Written::Done(server) = written else { return Ok(false) };
        self.services.objects.servers.note(&server);
        let machine = self.compared(Arc::from(server), binding, authority)?;
        self.write_wiped(client, &machine, disks).await
    }

    async fn write_wiped(
        &self,
        client: &Client,
        machine: &Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let mut status = status_of(&machine.server);
        status.is_clean = true;
        condition::set(&mut status.conditions, Condition::holds(POWER_CYCLE, now()));
        condition::set(&mut status.conditions, progress::wiped(disks, now()));
        match self.write_status(client, machine, status).await? {
            Written::Changed => Ok(false),
            Written::Done(server) => {
                tracing::info!(server = server.metadata.name, disks = disks.len(), "server wiped");
                self.services.edge.metrics.wipes_complete.inc();
                self.services.events.record(Happening::of(&server, "Server Wipe", "Server wiped via agent."));
                Ok(true)
            }
        }
    }
}

/// The disks that are not wiped, in words: those reported so, and those on record of which the report does not speak.
fn left(machine: &Machine, caller: &Caller, disks: &[pb::DiskProgress]) -> Option<String> {
    let reporter = if caller.token.is_some() { Reporter::Ours } else { Reporter::Upstream };
    // What the owner exempts was left as it is: whether he does is asked of the Server, not of the agent.
    let all: Vec<WipedDisk> = disks
        .iter()
        .map(|disk| WipedDisk {
            device_name: wire::text(&disk.device),
            model: wire::text(&disk.model),
            serial: wire::text(&disk.serial),
            is_wiped: disk.state() == State::Wiped,
        })
        .collect();
    wiped::left_in_words(&machine.server, &all, reporter)
}
