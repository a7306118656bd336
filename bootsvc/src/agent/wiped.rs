//! `MarkServerAsWiped`: the end of a wipe, believed only of the agent that was ordered to do it, while the
//! record that allowed it still stands.
//!
//! First the record, then the status that follows from it; a half-written pair is finished by the repeated
//! call. It must never call a machine clean that was bound, released or replaced since the order.

use bloomery_agent_api as pb;
use bloomery_agent_api::disk_progress::State;
use bloomery_api::condition::{self, Condition};
use bloomery_api::decision::Standing;
use bloomery_api::decision::wiped::{self, CallerMemory, REGISTER_AGAIN, Reporter, Verdict, WipedDisk};
use bloomery_api::evidence::{DiskRecord, Entry, RecordId};
use bloomery_api::server::POWER_CYCLE;
use kube::Client;
use serde_json::json;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Writers, Written, contended, merge_status, now, record};
use super::serve::{Handler, Shown};
use super::{progress, wire};
use crate::boots::{Caller, Memory};
use crate::events::Happening;

/// What is known of the caller.
struct Known {
    /// What its boot was told.
    memory: Memory,
    /// Whether this process gave it its boot: then it knows everything that boot was told.
    given: bool,
    /// When its boot began, in Unix milliseconds; upstream's agents do not show it.
    booted_ms: Option<u64>,
}

impl Known {
    fn view(&self) -> CallerMemory<'_> {
        CallerMemory {
            order: self.memory.order.as_ref(),
            cleaned: self.memory.cleaned.as_ref(),
            given: self.given,
            booted_ms: self.booted_ms,
        }
    }
}

impl Handler {
    pub(super) async fn mark_wiped(
        self,
        request: pb::MarkServerAsWipedRequest,
        shown: Shown,
    ) -> Result<pb::MarkServerAsWipedResponse, Status> {
        let pb::MarkServerAsWipedRequest { uuid, disks } = request;
        let client = self.client()?;
        self.acting().await?;
        let (name, caller) = self.caller(&uuid, &shown).await?;
        for _ in 0..ATTEMPTS {
            let machine = self.machine(&client, &name).await?;
            let known = self.remembered(&caller)?;
            let left = left(&machine, &caller, &disks);
            let ended = match wiped::wiped(&machine.view(), &known.view()) {
                Verdict::Done => true,
                Verdict::Refuse(why) => {
                    tracing::warn!(server = name, why, "not marked as wiped");
                    return Err(Status::failed_precondition(format!("server {name}: {why}")));
                }
                Verdict::Record | Verdict::Finish if left.is_some() => {
                    return Err(self.not_all(&client, &machine, &disks, &left.unwrap_or_default()).await);
                }
                Verdict::Record => self.write_clean(&client, &caller, &machine, &disks).await?,
                Verdict::Finish => self.write_status(&client, &machine, &disks).await?,
            };
            if ended {
                return Ok(pb::MarkServerAsWipedResponse {});
            }
        }
        Err(contended(&name))
    }

    fn remembered(&self, caller: &Caller) -> Result<Known, Status> {
        let memory = self.means.tokens.with(caller, |memory| memory.clone());
        let memory = memory.ok_or_else(|| Status::failed_precondition(REGISTER_AGAIN))?;
        Ok(Known {
            memory,
            given: self.means.tokens.was_given(caller),
            booted_ms: caller.token.as_ref().map(crate::token::Token::time_ms),
        })
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
        caller: &Caller,
        machine: &Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let Written::Done(server) =
            record(client, &machine.server, Entry::Clean, &machine.authority, Writers::Keep).await?
        else {
            return Ok(false);
        };
        let cleaned = DiskRecord::of(&server).map(|record| RecordId(record.id));
        self.means.tokens.with(caller, |memory| {
            memory.order = None;
            memory.cleaned = cleaned;
        });
        let binding = machine.binding.clone();
        let machine = self.compared(*server, binding, machine.authority.clone())?;
        self.write_status(client, &machine, disks).await
    }

    async fn write_status(
        &self,
        client: &Client,
        machine: &Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let server = &machine.server;
        let mut conditions =
            server.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        condition::set(&mut conditions, Condition::holds(POWER_CYCLE, now()));
        condition::set(&mut conditions, progress::wiped(disks, now()));
        let status = json!({ "isClean": true, "conditions": conditions });
        match merge_status(client, server, status).await? {
            Written::Changed => Ok(false),
            Written::Done(server) => {
                tracing::info!(server = server.metadata.name, disks = disks.len(), "server wiped");
                self.means.metrics.wipes_complete.increment();
                self.means.events.record(Happening::of(&server, "Server Wipe", "Server wiped via agent."));
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
