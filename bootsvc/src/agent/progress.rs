//! How a wipe goes, in words: pure functions of what the agent reports of each disk.
//!
//! It must never call a wipe done because something was left out of a report.

use std::fmt::Write;

use bloomery_agent_api::DiskProgress;
use bloomery_agent_api::disk_progress::State;
use bloomery_api::condition::{Condition, Severity};
use bloomery_api::server::DISKS_WIPED;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::wire;

/// Disks that are named; a shelf of more says the same.
const MAX_DISKS: usize = 128;
/// Characters of a condition's message, far below the 10,240 that it may have.
const MAX_MESSAGE: usize = 4096;

/// Reason of the condition while a wipe goes on, and where a disk could not be wiped.
const WIPING: &str = "Wiping";
pub(super) const FAILED: &str = "WipeFailed";

/// The states of all disks, by name: when they change, people want to know at once.
pub(super) fn states(disks: &[DiskProgress]) -> Vec<(String, i32)> {
    disks.iter().take(MAX_DISKS).map(|disk| (wire::text(&disk.device), disk.state)).collect()
}

/// The condition of a machine whose agent is ordered to wipe, and has not said how it goes.
pub(super) fn ordered(now: Time) -> Condition {
    Condition::fails(DISKS_WIPED, Severity::Info, WIPING, "ordered; the agent begins", now)
}

/// The condition that tells how far the wipe is; none if the agent does not say, as upstream's.
pub(super) fn condition(disks: &[DiskProgress], now: Time) -> Option<Condition> {
    if disks.is_empty() {
        return None;
    }
    Some(match failures(disks) {
        Some(failed) => Condition::fails(DISKS_WIPED, Severity::Error, FAILED, failed, now),
        None => Condition::fails(DISKS_WIPED, Severity::Info, WIPING, progress(disks), now),
    })
}

/// The condition of a machine all of whose disks are wiped.
pub(super) fn wiped(disks: &[DiskProgress], now: Time) -> Condition {
    let mut condition = Condition::holds(DISKS_WIPED, now);
    "Wiped".clone_into(&mut condition.reason);
    if !disks.is_empty() {
        condition.message = progress(disks);
    }
    condition
}

/// The disks that could not be wiped, each with the reason; none if there is none.
pub(super) fn failures(disks: &[DiskProgress]) -> Option<String> {
    let failed = disks.iter().filter(|disk| disk.state() == State::Failed);
    let named: Vec<String> = failed
        .take(MAX_DISKS)
        .map(|disk| {
            let cause = match wire::text(&disk.error) {
                error if error.is_empty() => "no reason given".to_owned(),
                error => error,
            };
            let mut name = wire::text(&disk.device);
            let details = [wire::text(&disk.model), wire::text(&disk.serial)];
            let details: Vec<&str> =
                details.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
            if !details.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(name, " ({})", details.join(", "));
            }
            format!("{name}: {cause}")
        })
        .collect();
    (!named.is_empty()).then(|| shortened(named.join("; ")))
}

fn progress(disks: &[DiskProgress]) -> String {
    shortened(disks.iter().take(MAX_DISKS).map(one).collect::<Vec<_>>().join(", "))
}

fn one(disk: &DiskProgress) -> String {
    let name = wire::text(&disk.device);
    match disk.state() {
        State::Pending => format!("{name} waiting"),
        State::Wiping => {
            let size = u128::from(disk.size.max(1));
            let percent = (u128::from(disk.done) * 100 / size).min(100);
            format!("{name} {percent} %")
        }
        State::Wiped => format!("{name} done"),
        State::Failed => format!("{name} failed"),
        State::Exempt => format!("{name} exempt"),
    }
}

fn shortened(text: String) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text;
    }
    text.chars().take(MAX_MESSAGE).chain(['…']).collect()
}
