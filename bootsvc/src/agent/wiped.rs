//! `MarkServerAsWiped`: the end of a wipe, believed only of the agent that was ordered to do it, while the
//! record that allowed it still stands.
//!
//! First the record, then the status that follows from it; a half-written pair is finished by the repeated
//! call. It must never call a machine clean that was bound, released or replaced since the order.

use std::cmp::Ordering;

use bloomery_agent_api as pb;
use bloomery_api::Server;
use bloomery_api::condition::{self, Condition};
use bloomery_api::decision::Standing;
use bloomery_api::evidence::{DiskRecord, DiskState, Evidence, RecordId};
use bloomery_api::server::POWER_CYCLE;
use kube::Client;
use serde_json::json;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Writers, Written, contended, merge_status, now, record};
use super::progress;
use super::serve::{Handler, Shown, server_name};
use crate::boots::{Caller, Memory};
use crate::events::Happening;

/// What follows from the call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write the record, then the status.
    Record,
    /// The record is written already: write the status.
    Finish,
    /// All is written.
    Done,
    /// It is not believed, and why.
    Refuse(&'static str),
}

/// What is known of the caller.
pub(super) struct Known {
    /// What its boot was told.
    pub(super) memory: Memory,
    /// Whether this process gave it its boot: then it knows everything that boot was told.
    pub(super) given: bool,
    /// When its boot began, in Unix milliseconds; upstream's agents do not show it.
    pub(super) booted_ms: Option<u64>,
}

/// Said when nobody remembers the order.
const REGISTER_AGAIN: &str = "no order to wipe is remembered for this boot: register again";

/// Judges a call.
pub(super) fn judge(machine: &Machine, known: &Known) -> Verdict {
    // Without a memory, the times must tell: did the boot begin before or after the record was written?
    let begun = if known.given { None } else { compare(known.booted_ms, &machine.server) };
    match (machine.standing(), machine.evidence()) {
        (Standing::Dirty, evidence) => {
            let Some(record) = evidence.allows_wipe() else {
                return Verdict::Refuse("nothing on record says that the disks may be wiped");
            };
            match &known.memory.order {
                Some(order) if order.record == *record && order.server_uid == machine.server.metadata.uid => {
                    Verdict::Record
                }
                Some(_) => Verdict::Refuse("the machine was used since the order to wipe: register again"),
                None if begun == Some(Ordering::Greater) => Verdict::Record,
                None => Verdict::Refuse(REGISTER_AGAIN),
            }
        }
        (Standing::Clean, _) => Verdict::Done,
        (Standing::Unconfirmed, Evidence::Clean(record)) => {
            // Ours, if this boot led to it: the status did not get written.
            match &known.memory.cleaned {
                Some(cleaned) if *cleaned == record => Verdict::Finish,
                None if begun == Some(Ordering::Less) => Verdict::Finish,
                Some(_) | None => Verdict::Refuse(REGISTER_AGAIN),
            }
        }
        (standing, _) => Verdict::Refuse(standing.message()),
    }
}

/// Whether a boot began before or after the record on the Server was written. The record's time has whole
/// seconds: a boot in the same second counts as before, which believes less.
fn compare(booted_ms: Option<u64>, server: &Server) -> Option<Ordering> {
    /// Milliseconds in the record's unit.
    const SECOND_MS: i64 = 1000;
    let booted = i64::try_from(booted_ms?).ok()?;
    let since = DiskRecord::of(server)?.since.0.as_millisecond();
    Some(if booted >= since.saturating_add(SECOND_MS) { Ordering::Greater } else { Ordering::Less })
}

impl Handler {
    pub(super) async fn mark_wiped(
        self,
        request: pb::MarkServerAsWipedRequest,
        shown: Shown,
    ) -> Result<pb::MarkServerAsWipedResponse, Status> {
        let pb::MarkServerAsWipedRequest { uuid, disks } = request;
        let name = server_name(&uuid)?;
        let client = self.client()?;
        self.acting().await?;
        let caller = self.caller(&name, &shown).await?;
        for _ in 0..ATTEMPTS {
            let machine = self.machine(&client, &name).await?;
            let known = self.known(&caller)?;
            let ended = match judge(&machine, &known) {
                Verdict::Done => true,
                Verdict::Refuse(why) => {
                    tracing::warn!(server = name, why, "not marked as wiped");
                    return Err(Status::failed_precondition(format!("server {name}: {why}")));
                }
                Verdict::Record | Verdict::Finish if progress::unfinished(&disks).is_some() => {
                    return Err(self.not_all(&client, &machine, &disks).await);
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

    fn known(&self, caller: &Caller) -> Result<Known, Status> {
        let memory = self.means.tokens.with(caller, |memory| memory.clone());
        let memory = memory.ok_or_else(|| Status::failed_precondition(REGISTER_AGAIN))?;
        Ok(Known {
            memory,
            given: self.means.tokens.was_given(caller),
            booted_ms: caller.token.as_ref().map(crate::token::Token::time_ms),
        })
    }

    /// A disk that is not wiped is reported, and the machine stays unclean (promise S4).
    async fn not_all(&self, client: &Client, machine: &Machine, disks: &[pb::DiskProgress]) -> Status {
        if machine.standing() == Standing::Dirty
            && progress::failures(disks).is_some()
            && let Err(error) = self.write_progress(client, machine, disks).await
        {
            return error;
        }
        let left = progress::unfinished(disks).unwrap_or_default();
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
        let Some(epoch) = machine.authority.epoch() else { return Ok(false) };
        let Written::Done(server) =
            record(client, &machine.server, DiskState::Clean, epoch, Writers::Keep).await?
        else {
            return Ok(false);
        };
        let cleaned = DiskRecord::of(&server).map(|record| RecordId(record.id));
        self.means.tokens.with(caller, |memory| {
            memory.order = None;
            memory.cleaned = cleaned;
        });
        let binding = machine.binding.clone();
        let machine = Machine { server: *server, binding, authority: machine.authority.clone() };
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
