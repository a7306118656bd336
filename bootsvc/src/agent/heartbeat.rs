//! `Heartbeat`: keeps a wipe that runs from being power cycled, and shows how far it is.
//!
//! It must never write more often than every few seconds for one machine, and never for a machine that is
//! not to be wiped.

use std::time::{Duration, Instant};

use bloomery_agent_api as pb;
use bloomery_api::condition::{self, Condition, Severity};
use bloomery_api::decision::Standing;
use bloomery_api::server::{DISKS_WIPED, POWER_CYCLE};
use kube::Client;
use serde_json::json;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Written, contended, merge_status, now};
use super::progress;
use super::serve::{Handler, Shown};
use crate::boots::Caller;
use crate::events::Happening;

/// The least time between two writes about one machine whose disks do not change their state.
const WRITE_EVERY: Duration = Duration::from_secs(10);
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
        self.acting().await?;
        let (name, caller) = self.caller(&uuid, &shown).await?;
        if !self.is_due(&caller, &disks) {
            return Ok(pb::HeartbeatResponse {});
        }
        for _ in 0..ATTEMPTS {
            let machine = self.machine(&client, &name).await?;
            let standing = machine.standing();
            if standing != Standing::Dirty {
                return Err(Status::failed_precondition(format!(
                    "server {name} is not to be wiped: {}",
                    standing.message()
                )));
            }
            if self.write_progress(&client, &machine, &disks).await? {
                let states = progress::states(&disks);
                self.means.tokens.with(&caller, |memory| memory.beat = Some((Instant::now(), states)));
                return Ok(pb::HeartbeatResponse {});
            }
        }
        Err(contended(&name))
    }

    fn is_due(&self, caller: &Caller, disks: &[pb::DiskProgress]) -> bool {
        let states = progress::states(disks);
        let due = self.means.tokens.with(caller, |memory| {
            memory.beat.as_ref().is_none_or(|(when, known)| when.elapsed() >= WRITE_EVERY || *known != states)
        });
        due.unwrap_or(true)
    }

    /// Writes the conditions; false if the Server changed meanwhile.
    pub(super) async fn write_progress(
        &self,
        client: &Client,
        machine: &Machine,
        disks: &[pb::DiskProgress],
    ) -> Result<bool, Status> {
        let server = &machine.server;
        let mut conditions =
            server.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        // Removed first, so that its time is new: the wait for the next power cycle counts from it.
        condition::remove(&mut conditions, POWER_CYCLE);
        let cycle = Condition::fails(POWER_CYCLE, Severity::Info, IN_PROGRESS, MESSAGE, now());
        condition::set(&mut conditions, cycle);
        let mut failed = None;
        if let Some(wiping) = progress::condition(disks, now()) {
            let known = condition::find(&conditions, DISKS_WIPED);
            if wiping.severity == Severity::Error.as_str()
                && known.is_none_or(|known| !known.same_state(&wiping))
            {
                failed = Some(wiping.message.clone());
            }
            condition::set(&mut conditions, wiping);
        }
        match merge_status(client, server, json!({ "conditions": conditions })).await? {
            Written::Changed => Ok(false),
            Written::Done(_) => {
                if let Some(failed) = failed {
                    tracing::warn!(server = server.metadata.name, failed, "disks could not be wiped");
                    self.means.metrics.wipes_failed.increment();
                    let event = Happening::of(server, "Server Wipe", format!("Disks not wiped: {failed}"));
                    self.means.events.record(event.warning());
                }
                Ok(true)
            }
        }
    }
}
