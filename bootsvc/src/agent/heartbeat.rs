//! `Heartbeat`: keeps a wipe that runs from being power cycled, and shows how far it is.
//!
//! It must never write for a machine that is not to be wiped, and never let a machine whose agent is alive wait so long
//! for a write that it is power cycled.

use std::time::{Duration, Instant};

use bloomery_agent_api as pb;
use bloomery_api::condition::{self, Condition, ConditionStatus, Severity};
use bloomery_api::decision::Standing;
use bloomery_api::server::{DISKS_WIPED, POWER_CYCLE, ServerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Source, Written, contended, now, status_of};
use super::progress;
use super::serve::{Handler, Shown};
use crate::boots::Caller;
use crate::events::Happening;

/// The least time between two writes about one machine whose disks do not change their state.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A machine is written after this share of the reboot timeout at the latest, however many there are.
const LONGEST_SHARE: u32 = 4;
/// Reason of a power cycle that is under way, as upstream words it.
const IN_PROGRESS: &str = "InProgress";
/// Message of it while the agent is at work.
const MESSAGE: &str = "Server wipe in progress.";

impl Handler {
    pub(super) async fn heartbeat(
        self,
        request: pb::HeartbeatRequest,
        shown: Shown,
    ) -> Result<pb::HeartbeatResponse, Status> {
        let pb::HeartbeatRequest { uuid, disks } = request;
        let client = self.client()?;
        let (name, caller) = self.caller(&uuid, &shown).await?;
        for attempt in 0..ATTEMPTS {
            let source = Source::of(attempt);
            let machine = self.machine(&client, &name, source).await?;
            let standing = machine.standing();
            if standing != Standing::Dirty {
                if source == Source::Caches {
                    continue;
                }
                return Err(Status::failed_precondition(format!(
                    "server {name} is not to be wiped: {}",
                    standing.message()
                )));
            }
            if !self.is_due(&caller, &machine, &disks)
                || self.write_progress(&client, &machine, &disks).await?
            {
                let states = progress::states(&disks);
                self.services.tokens.with(&caller, |memory| memory.disks = Some(states));
                return Ok(pb::HeartbeatResponse {});
            }
        }
        Err(contended(&name))
    }

    /// Whether it is time to write. What changes the state of a disk is news at once; the rest keeps the machine from
    /// being power cycled, and the more machines are wiped the rarer each is written.
    fn is_due(&self, caller: &Caller, machine: &Machine, disks: &[pb::DiskProgress]) -> bool {
        let conditions = machine.server.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let doing = progress::states(disks);
        let before = self.services.tokens.with(caller, |memory| memory.disks.clone()).flatten();
        let told = condition::find(conditions, DISKS_WIPED).map(|told| told.reason.as_str());
        let wiping = progress::condition(disks, now());
        let is_news = before.is_some_and(|before| before != doing)
            || wiping.is_some_and(|wiping| Some(wiping.reason.as_str()) != told);
        let written = condition::find(conditions, POWER_CYCLE)
            .filter(|cycle| cycle.status == ConditionStatus::False)
            .map(|cycle| Timestamp::now().duration_since(cycle.last_transition_time.0));
        let age = written.and_then(|age| Duration::try_from(age).ok());
        is_news
            || age.is_none_or(|age| {
                age >= self.services.sidero.server_reboot_timeout.duration() / LONGEST_SHARE
                    || (age >= WRITE_EVERY && self.strangers.admit_heartbeat(Instant::now()))
            })
    }

    /// Writes the conditions; false if the Server changed meanwhile.
    pub(super) async fn write_progress(
        &self,
        client: &Client,
        machine: &Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let server = &machine.server;
        let mut status = status_of(server);
        begin_wipe(&mut status, now());
        let mut failed = None;
        if let Some(wiping) = progress::condition(disks, now()) {
            let known = condition::find(&status.conditions, DISKS_WIPED);
            if wiping.severity == Severity::Error.as_str()
                && known.is_none_or(|known| !known.same_state(&wiping))
            {
                failed = Some(wiping.message.clone());
            }
            condition::set(&mut status.conditions, wiping);
        }
        match self.write_status(client, machine, status).await? {
            Written::Changed => Ok(false),
            Written::Done(_) => {
                if let Some(failed) = failed {
                    tracing::warn!(server = server.metadata.name, failed, "disks could not be wiped");
                    self.services.edge.metrics.wipes_failed.inc();
                    let event = Happening::of(server, "Server Wipe", format!("Disks not wiped: {failed}"));
                    self.services.events.record(event.warning());
                }
                Ok(true)
            }
        }
    }
}

/// The agent is ordered to wipe.
pub(super) fn order_wipe(status: &mut ServerStatus, now: Time) {
    // What failed before stands until the agent says how it goes now.
    if condition::find(&status.conditions, DISKS_WIPED).is_none_or(|told| told.reason != progress::FAILED) {
        condition::set(&mut status.conditions, progress::ordered(now.clone()));
    }
    begin_wipe(status, now);
}

/// The agent is at work from now on.
fn begin_wipe(status: &mut ServerStatus, now: Time) {
    // Removed first, so that its time is new: the wait for the next power cycle counts from it.
    condition::remove(&mut status.conditions, POWER_CYCLE);
    let cycle = Condition::fails(POWER_CYCLE, Severity::Info, IN_PROGRESS, MESSAGE, now);
    condition::set(&mut status.conditions, cycle);
}
