//! Whose word "wiped" is believed.
//!
//! Only of the agent that was ordered to do it, while the record that allowed it still stands, and only when every disk
//! that the inventory lists was wiped; disks that the owner exempts are left out. It must never call a machine clean that
//! was bound, released or replaced since the order, or one of whose disks nobody spoke.

use super::order::Order;
use super::{Machine, Standing};
use crate::evidence::Evidence;
use crate::exempt::ExemptDisks;
use crate::hardware::StorageDevice;
use crate::server::Server;

/// Disks named in one message.
const MOST_NAMED: usize = 8;

/// Which agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// Ours: it reports every disk.
    Ours,
    /// Upstream's, which shows no token and reports no disks. To be believed only with `requireAgentToken: false`.
    Upstream,
}

/// One disk as the agent reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WipedDisk {
    /// Kernel's name or device node, such as `sda` or `/dev/sda`.
    pub device_name: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Whether it is wiped.
    pub is_wiped: bool,
}

/// What follows from the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write the record, then the status.
    Record,
    /// The record is written already: write the status.
    Finish,
    /// All is written.
    Done,
    /// It is not believed, and why.
    Refuse(&'static str),
}

/// Said to an agent that shows no order of this plane for this boot.
pub const REGISTER_AGAIN: &str =
    "the agent shows no order to wipe that is good for this machine now: register again";

/// Judges the word of an agent that shows this order.
pub fn wiped(machine: &Machine<'_>, order: Option<&Order>) -> Verdict {
    match (machine.standing(), machine.evidence()) {
        _ if !machine.authority.acts() => {
            Verdict::Refuse("this plane is not the one that may act on machines")
        }
        (Standing::Dirty, evidence) => {
            let Some(record) = evidence.allows_wipe() else {
                return Verdict::Refuse("nothing on record says that the disks may be wiped");
            };
            match order {
                Some(order) if order.record == *record => Verdict::Record,
                Some(_) => Verdict::Refuse("the machine was used since the order to wipe: register again"),
                None => Verdict::Refuse(REGISTER_AGAIN),
            }
        }
        (Standing::Clean, _) => Verdict::Done,
        // The record was written on this very order, and its status was not.
        (Standing::Unconfirmed, Evidence::Clean(record))
            if order.is_some_and(|order| order.cleaned == record) =>
        {
            Verdict::Finish
        }
        (Standing::Unconfirmed, Evidence::Clean(_)) => Verdict::Refuse(REGISTER_AGAIN),
        (standing, _) => Verdict::Refuse(standing.message()),
    }
}

/// The disks on record that the report does not call wiped, in words; none when all are. A report without disks leaves
/// all that the inventory lists, unless it is upstream's. Disks that the owner exempts do not count, wherever they stand.
pub fn left(server: &Server, reported: &[WipedDisk], agent: Reporter) -> Vec<String> {
    if reported.is_empty() && agent == Reporter::Upstream {
        return Vec::new();
    }
    let exempt = ExemptDisks::of_or_none(server);
    let storage = server.spec.hardware.as_ref().and_then(|hardware| hardware.storage.as_ref());
    let known = storage.map_or(&[][..], |storage| &storage.devices);
    let mut free: Vec<&WipedDisk> =
        reported.iter().filter(|disk| !exempt.covers_named(&disk.model, &disk.serial)).collect();
    // What was reported and is not wiped is left, on record or not.
    let mut left: Vec<String> =
        free.iter().filter(|disk| !disk.is_wiped).map(|disk| in_words(disk)).collect();
    free.retain(|disk| disk.is_wiped);
    for disk in known.iter().filter(|disk| !exempt.covers(disk)) {
        // One entry speaks for one disk.
        match free.iter().position(|wiped| is_of(wiped, disk)) {
            Some(index) => {
                free.remove(index);
            }
            None if reported.iter().any(|other| !other.is_wiped && is_of(other, disk)) => {}
            None => left
                .push(format!("{} ({}, serial {})", disk.device_name, disk.product_name, disk.serial_number)),
        }
    }
    left
}

/// [`left`] in one text, cut to what fits a message; `None` when all are wiped.
pub fn left_in_words(server: &Server, reported: &[WipedDisk], agent: Reporter) -> Option<String> {
    let mut left = left(server, reported, agent);
    if left.is_empty() {
        return None;
    }
    let more = left.len().saturating_sub(MOST_NAMED);
    left.truncate(MOST_NAMED);
    if more > 0 {
        left.push(format!("and {more} more"));
    }
    Some(left.join(", "))
}

fn in_words(disk: &WipedDisk) -> String {
    format!("{} ({}, serial {})", disk.device_name, disk.model, disk.serial)
}

/// By serial number where both have one, else by device node.
fn is_of(reported: &WipedDisk, known: &StorageDevice) -> bool {
    if reported.serial.is_empty() || known.serial_number.is_empty() {
        let bare = |name: &str| name.trim_start_matches("/dev/").to_owned();
        !known.device_name.is_empty() && bare(&reported.device_name) == bare(&known.device_name)
    } else {
        reported.serial.trim() == known.serial_number.trim()
            && (reported.model.is_empty()
                || known.product_name.is_empty()
                || reported.model.trim() == known.product_name.trim())
    }
}

#[cfg(test)]
mod tests;
