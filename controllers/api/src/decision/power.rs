//! Which command a machine's power gets: the table of the Server controller.
//!
//! ```text
//! Clean and on ─▶ off      Bound, off and its configuration good ─▶ network boot once, on      Installed and off ─▶ on
//! Dirty ─▶ network boot once, cycle (on when off); again when the agent was silent for a reboot timeout
//! ```
//! Never commands a machine of which nobody can tell whose disks it has, and never cycles one whose agent reported
//! lately: the clock may jump, so the time on record is not the only one that counts.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::controllers::SharedController;
use super::identity::Conflict;
use super::{Machine, Standing};
use crate::condition::{self, Condition, ConditionStatus, Severity};
use crate::plane::Authority;
use crate::readiness::{Trouble, may_be_powered};
use crate::server::{POWER_CYCLE, Power, Server};
use crate::server_binding::ServerBinding;

/// Reason of [`POWER_CYCLE`] while a wipe is under way.
pub const IN_PROGRESS: &str = "InProgress";
/// When to look again after an error.
pub const ERROR_REQUEUE: Duration = Duration::from_secs(20);
/// When to look again at a bound machine: a controller may report "on" while the machine powers off.
pub const BOUND_REQUEUE: Duration = Duration::from_mins(5);
/// How long this process must have seen the same time on record before it believes that the agent is silent: three
/// of the agent's heartbeats. It guards a wipe under way against a clock that jumped ahead.
pub const SILENCE: Duration = Duration::from_secs(90);

/// The command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// None.
    None,
    /// Off.
    PowerOff,
    /// On, from the disk.
    PowerOn,
    /// Set to boot from the network once, then on.
    PxeOn,
    /// Set to boot from the network once, then off and on again.
    PxeCycle,
}

/// What the decision needs to know besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct PowerRequest<'a> {
    /// The machine.
    pub server: &'a Server,
    /// Its binding.
    pub binding: Option<&'a ServerBinding>,
    /// Whether this plane may act.
    pub authority: &'a Authority,
    /// Whether another Server may be the same machine.
    pub conflict: Option<&'a Conflict>,
    /// Whether another Server names the same management controller.
    pub shared: Option<&'a SharedController>,
    /// The power state as just read, or why it could not be.
    pub reading: Result<Power, &'a str>,
    /// True when nobody controls this machine's power.
    pub is_fake: bool,
    /// `--server-reboot-timeout`.
    pub reboot_timeout: Duration,
    /// How long this process has seen the present time of [`POWER_CYCLE`], by a clock that cannot jump.
    pub stamp_seen_for: Duration,
    /// The time.
    pub now: &'a Time,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerDecision {
    /// The command.
    pub action: PowerAction,
    /// The condition to write. With a command it claims the machine: it must be written, bound to the version of the
    /// Server that was read, before the command is given.
    pub claim: Option<Condition>,
    /// Message of the Normal event when the command succeeded.
    pub success: Option<&'static str>,
    /// Message of the Warning event because the power state could not be read, or a configuration keeps the machine off.
    pub warning: Option<String>,
    /// When to look again; `None` for the usual time.
    pub requeue: Option<Duration>,
}

impl PowerDecision {
    const fn none(requeue: Option<Duration>) -> Self {
        Self { action: PowerAction::None, claim: None, success: None, warning: None, requeue }
    }

    fn failed(why: &str) -> Self {
        let warning = Some(format!("Failed to determine power status: {why}."));
        Self { warning, ..Self::none(Some(ERROR_REQUEUE)) }
    }
}

/// Decides the command.
pub fn power(request: &PowerRequest<'_>) -> PowerDecision {
    let PowerRequest { server, binding, authority, .. } = *request;
    if !authority.acts() {
        return PowerDecision::none(Some(ERROR_REQUEUE));
    }
    // Nobody knows which machine would obey.
    if request.shared.is_some() || request.conflict.is_some_and(Conflict::holds) {
        return PowerDecision::none(None);
    }
    let standing = Machine { server, binding, authority, conflict: request.conflict }.standing();
    // A machine on its way out is left as it is until it is known what becomes of it.
    let leaving = binding.is_some_and(|binding| binding.metadata.deletion_timestamp.is_some());
    match standing {
        Standing::Unregistered
        | Standing::BoundWithoutServer
        | Standing::Lost
        | Standing::Unconfirmed
        | Standing::Conflicted
        | Standing::Discovered => PowerDecision::none(None),
        _ if !server.spec.accepted => PowerDecision::none(None),
        Standing::Bound | Standing::Installed if leaving => PowerDecision::none(None),
        Standing::Clean => clean(request),
        Standing::Bound => match binding.map(may_be_powered) {
            Some(Err(trouble)) => unready(request, &trouble),
            Some(Ok(())) | None => bound(request, PowerAction::PxeOn),
        },
        // A firmware that netboots would only be sent to its disk, and without the plane it would not even be that.
        Standing::Installed if server.spec.pxe_boot_always => bound(request, PowerAction::PxeOn),
        Standing::Installed => bound(request, PowerAction::PowerOn),
        Standing::Dirty => dirty(request),
    }
}

fn clean(request: &PowerRequest<'_>) -> PowerDecision {
    match request.reading {
        Err(why) => PowerDecision::failed(why),
        Ok(_) if request.is_fake => PowerDecision::none(None),
        Ok(Power::On) => PowerDecision {
            action: PowerAction::PowerOff,
            success: Some("Server powered off."),
            ..PowerDecision::none(None)
        },
        Ok(Power::Off | Power::Unknown) => PowerDecision::none(None),
    }
}

fn bound(request: &PowerRequest<'_>, action: PowerAction) -> PowerDecision {
    let success = match action {
        PowerAction::PxeOn => "Server powered on and set PXE boot once into the environment.",
        PowerAction::PowerOn | PowerAction::PowerOff | PowerAction::PxeCycle | PowerAction::None => {
            "Server powered on."
        }
    };
    let settled = PowerDecision::none(Some(BOUND_REQUEUE));
    match request.reading {
        Err(why) => PowerDecision::failed(why),
        Ok(Power::Off) => PowerDecision { action, success: Some(success), ..settled },
        Ok(Power::On | Power::Unknown) => settled,
    }
}

/// A machine that is off stays off until its configuration is good; one that is on is left as it is.
fn unready(request: &PowerRequest<'_>, trouble: &Trouble) -> PowerDecision {
    let settled = PowerDecision::none(Some(BOUND_REQUEUE));
    match request.reading {
        Err(why) => PowerDecision::failed(why),
        Ok(Power::Off) if trouble.severity == Severity::Error => {
            let warning = Some(format!("Server is not powered on: {}.", trouble.message));
            PowerDecision { warning, ..settled }
        }
        Ok(Power::Off | Power::On | Power::Unknown) => settled,
    }
}

fn dirty(request: &PowerRequest<'_>) -> PowerDecision {
    let timeout = request.reboot_timeout;
    let waiting = PowerDecision::none(Some(look_again(timeout)));
    if request.is_fake {
        return waiting;
    }
    let conditions = request.server.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let under_way = condition::find(conditions, POWER_CYCLE)
        .filter(|condition| condition.status == ConditionStatus::False);
    if let Some(condition) = under_way {
        let stamp = condition.last_transition_time.0;
        if stamp > request.now.0 {
            // From a clock that was ahead. It counts as now, once: left alone it would block for as long as it was.
            let claim = Condition { last_transition_time: request.now.clone(), ..condition.clone() };
            return PowerDecision { claim: Some(claim), ..waiting };
        }
        let age = request.now.0.duration_since(stamp).unsigned_abs();
        if age < timeout || request.stamp_seen_for < timeout.min(SILENCE) {
            return waiting;
        }
    }
    let (action, success) = match request.reading {
        Err(why) => return PowerDecision::failed(why),
        Ok(Power::On) => (PowerAction::PxeCycle, "Server power cycled and set to PXE boot once."),
        Ok(Power::Off) => (PowerAction::PxeOn, "Server powered on and set to PXE boot once."),
        Ok(Power::Unknown) => return waiting,
    };
    PowerDecision { action, claim: Some(claim(request.now)), success: Some(success), ..waiting }
}

/// A third of the timeout, as upstream; a timeout of nothing must not become a busy loop.
fn look_again(timeout: Duration) -> Duration {
    (timeout / 3).max(Duration::from_millis(100))
}

/// The claim: its text differs each time, so its transition time moves.
fn claim(now: &Time) -> Condition {
    let message = format!("Server power cycled for wiping at {}.", now.0.strftime("%Y-%m-%dT%H:%M:%SZ"));
    Condition::fails(POWER_CYCLE, Severity::Info, IN_PROGRESS, message, now.clone())
}

#[cfg(test)]
mod tests;
