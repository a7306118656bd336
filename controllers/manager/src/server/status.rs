//! Writes a Server's status and announces a release.
//!
//! Never overwrites what another wrote since the Server was read: the patch carries the version it is of.

use bloomery_api::condition;
use bloomery_api::decision::controllers::SharedController;
use bloomery_api::decision::identity::IDENTITY_CONFLICT;
use bloomery_api::decision::status::{EXEMPT_DISKS, PowerOutcome, StatusDecision, status};
use bloomery_api::decision::{Machine, Standing};
use bloomery_api::server::{POWER_CYCLE, POWER_REACHABLE};
use bloomery_api::{Condition, Server, ServerStatus};
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Part};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use crate::reconcile::{Context, Error};

pub(super) struct Wrote {
    pub(super) standing: Standing,
    pub(super) server: Server,
}

/// Patches the status if it changes.
pub(super) async fn write(
    context: &Context,
    machine: &Machine<'_>,
    shared: Option<&SharedController>,
    outcome: &PowerOutcome,
) -> Result<Wrote, Error> {
    let now = Time(Timestamp::now());
    let StatusDecision { standing, status: wanted, released, finalizer: _, clear_owners: _ } =
        status(machine, shared, outcome, &now);
    let server = machine.server;
    let changes = server.status.as_ref() != Some(&wanted);
    let written = if changes { write_status(context, server, &wanted).await? } else { server.clone() };
    if changes {
        info!(
            server = server.name_any(),
            standing = standing.reason(),
            ready = wanted.ready,
            power = wanted.power,
            "server status changed"
        );
    }
    if released {
        let notice = Notice {
            warning: false,
            reason: "Server Allocation",
            action: "Release",
            message: "Server marked as unallocated.".to_owned(),
        };
        context.notify(server, notice);
    }
    for notice in news(server.status.as_ref(), &wanted) {
        context.notify(server, notice);
    }
    Ok(Wrote { standing, server: written })
}

/// What a person should hear of, once for each time that it begins or becomes another: conditions alone are not seen
/// where events are collected.
fn news(before: Option<&ServerStatus>, after: &ServerStatus) -> Vec<Notice> {
    let before = before.map_or(&[][..], |status| &status.conditions);
    let told = |type_: &str, reason: &'static str, counts: &dyn Fn(&Condition) -> bool| {
        let now = condition::find(&after.conditions, type_).filter(|condition| counts(condition))?;
        let then = condition::find(before, type_).filter(|condition| counts(condition));
        let is_news = then.is_none_or(|then| then.message != now.message);
        is_news.then(|| Notice { warning: true, reason, action: "Compare", message: now.message.clone() })
    };
    [
        told(IDENTITY_CONFLICT, "Identity Conflict", &|_| true),
        told(POWER_REACHABLE, "Shared Controller", &|condition| condition.reason == SharedController::REASON),
        told(EXEMPT_DISKS, "Exempt Disks", &|_| true),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Writes one condition before a command is given; the Server as it is then.
pub(super) async fn claim(context: &Context, server: &Server, claim: Condition) -> Result<Server, Error> {
    let mut status = server.status.clone().unwrap_or_default();
    // Its time may be all that is new: `set` would keep the old one.
    condition::remove(&mut status.conditions, &claim.type_);
    status.conditions.push(claim);
    write_status(context, server, &status).await
}

/// The condition that is the claim.
pub(super) fn cycle(server: &Server) -> Option<&Condition> {
    condition::find(&server.status.as_ref()?.conditions, POWER_CYCLE)
}

/// The status with the `PowerCycle` of `before` a claim in its place.
pub(super) fn unclaimed(server: &Server, before: &Server) -> ServerStatus {
    let mut status = server.status.clone().unwrap_or_default();
    condition::remove(&mut status.conditions, POWER_CYCLE);
    status.conditions.extend(cycle(before).cloned());
    status
}

pub(super) async fn unclaim(context: &Context, server: &Server, before: &Server) -> Result<(), Error> {
    write_status(context, server, &unclaimed(server, before)).await.map(drop)
}

async fn write_status(context: &Context, server: &Server, status: &ServerStatus) -> Result<Server, Error> {
    let name = server.name_any();
    let servers: Api<Server> = Api::all(context.urgent.clone());
    patch::merge(&servers, server, body(status), Part::Status, &PatchParams::default())
        .await
        .map_err(Error::api("patch status of", format!("Server {name}")))
}

/// Only the fields this controller decides; addresses belong to the boot services.
fn body(status: &ServerStatus) -> Value {
    let ServerStatus { ready, in_use, is_clean, conditions, addresses: _, power, contents } = status;
    json!({
        "status": {
            "ready": ready, "inUse": in_use, "isClean": is_clean, "conditions": conditions, "power": power,
            "contents": contents,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_leaves_addresses_alone() {
        let patch = body(&ServerStatus::default());
        assert!(patch["status"].get("addresses").is_none());
        assert_eq!(patch["status"]["isClean"], false);
    }

    #[test]
    fn a_conflict_is_told_when_it_begins_and_when_it_becomes_another() {
        let now = Time(Timestamp::now());
        let with = |type_: &str, reason: &str, message: &str| {
            let mut condition = Condition::holds(type_, now.clone());
            reason.clone_into(&mut condition.reason);
            message.clone_into(&mut condition.message);
            ServerStatus { conditions: vec![condition], ..ServerStatus::default() }
        };
        let conflict = with(IDENTITY_CONFLICT, "Held", "one");
        let told = news(None, &conflict);
        assert_eq!((told.len(), told[0].reason, told[0].warning), (1, "Identity Conflict", true));
        assert!(news(Some(&conflict), &conflict).is_empty());
        assert_eq!(news(Some(&conflict), &with(IDENTITY_CONFLICT, "Held", "two"))[0].message, "two");
        assert!(news(Some(&conflict), &ServerStatus::default()).is_empty(), "its end is good news");
        let failed = with(POWER_REACHABLE, "PowerCommandFailed", "no answer");
        let shared = with(POWER_REACHABLE, SharedController::REASON, "two");
        assert!(news(None, &failed).is_empty(), "power tells its own");
        assert_eq!(news(Some(&failed), &shared)[0].reason, "Shared Controller");
    }
}
