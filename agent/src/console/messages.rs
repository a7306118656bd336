//! Single messages: what is being waited for, what failed, and what to check.
//!
//! They must never blame without saying where to look.

use std::time::Duration;

use bloomery_agent_api::DiskProgress;
use bloomery_agent_api::disk_progress::State;
use bloomery_base::chain;
use bloomery_hostnet::dhcp::{Event, Lease, LossReason, Phase};
use bloomery_hostnet::{Link, MacAddr};

use crate::orders::Thoroughness;
use crate::plane::Error;

/// Something without which nothing can go on.
pub fn fatal(error: &dyn std::error::Error, next: &str) -> String {
    format!("ERROR  {}\n       {next}", chain(error))
}

/// The card that the machine booted from is not there yet.
pub fn waiting_for_card(mac: MacAddr, links: &[Link]) -> String {
    let cards: Vec<String> =
        (links.iter()).filter_map(|link| link.mac.map(|mac| format!("{} {mac}", link.name))).collect();
    let found = if cards.is_empty() { "none".to_owned() } else { cards.join(", ") };
    format!(
        "WAIT   for the network card {mac} that this machine booted from\n       \
         cards found: {found}. If it stays away, its driver is not in this agent."
    )
}

/// A lease, for the line about the network.
pub fn lease(link: &str, lease: &Lease) -> String {
    let gateway = lease.gateway().map_or_else(|| "no gateway".to_owned(), |via| format!("gateway {via}"));
    format!("OK     {link} has {}, {gateway}, from DHCP server {}", lease.address, lease.server)
}

/// What a DHCP event means for a person; none when it means nothing.
pub fn dhcp_event(link: &str, event: &Event) -> Option<String> {
    Some(match event {
        Event::Bound(bound) => lease(link, bound),
        Event::Renewed(_) => return None,
        Event::Lost { lease, reason } => {
            let why = match reason {
                LossReason::Expired => "was not renewed in time",
                LossReason::Refused => "was withdrawn by the DHCP server",
            };
            format!("ERROR  {link} lost {}: the lease {why}; asking for a new one", lease.address)
        }
        Event::NoAnswer { carrier: false, .. } => {
            format!("WAIT   {link} has no carrier: check the cable and the switch port")
        }
        Event::NoAnswer {
            phase: Phase::Renewing | Phase::Rebinding | Phase::Rebooting,
            silent,
            carrier: true,
        } => {
            format!(
                "WARN   no DHCP server has renewed the address of {link} for {} s; still in use",
                silent.as_secs()
            )
        }
        Event::NoAnswer {
            phase: Phase::Init | Phase::Selecting | Phase::Requesting | Phase::Bound,
            silent,
            carrier: true,
        } => format!(
            "WAIT   no DHCP server has answered on {link} for {} s: check that one serves this network",
            silent.as_secs()
        ),
        Event::Failed { error } => format!("ERROR  {link}: {error}; trying again"),
    })
}

pub fn register_failed(error: &Error, attempt: u32, retry_in: Duration) -> String {
    format!(
        "ERROR  attempt {attempt}: {}\n       {}\n       next try in {} s",
        error_text(error),
        error.advice(),
        retry_in.as_secs().max(1)
    )
}

/// An error of a call, with its causes.
pub fn error_text(error: &Error) -> String {
    match error {
        // A gRPC status is in the error's own text; its cause would say it twice.
        Error::Call { .. } => error.to_string(),
        Error::NoIdentity | Error::Endpoint { .. } | Error::Connect { .. } | Error::Silent { .. } => {
            chain(error)
        }
    }
}

/// From here on data is lost.
pub fn wipe_starts(thoroughness: Thoroughness) -> String {
    let how = match thoroughness {
        Thoroughness::Fast => "fast: discards, and zeroes where data begins",
        Thoroughness::Full => "in full: every byte",
    };
    format!("WIPE   all disks of this machine, as the plane orders ({how})")
}

/// So many disks, in words.
pub fn count(disks: usize) -> String {
    match disks {
        0 => "there are none".to_owned(),
        1 => "1 disk".to_owned(),
        many => format!("{many} disks"),
    }
}

/// The end of a wipe that left nothing but what it was to leave.
pub fn wipe_done(disks: &[DiskProgress]) -> String {
    let left = disks.iter().filter(|disk| disk.state() == State::Exempt).count();
    let wiped = count(disks.len() - left);
    match left {
        0 => format!("OK     all disks are wiped: {wiped}"),
        _ => format!("OK     all disks are wiped: {wiped}; left, as their owner wants it: {}", count(left)),
    }
}

/// The end of a wipe that left something.
pub fn wipe_failed(disks: &[DiskProgress], again: Duration) -> String {
    let failed: Vec<String> = (disks.iter())
        .filter(|disk| !matches!(disk.state(), State::Wiped | State::Exempt))
        .map(|disk| {
            let serial =
                if disk.serial.is_empty() { String::new() } else { format!(", serial {}", disk.serial) };
            format!("       {}{serial}: {}", disk.device, disk.error)
        })
        .collect();
    let which = if failed.len() == 1 { "the disk" } else { "these disks" };
    format!(
        "ERROR  THIS MACHINE IS NOT CLEAN: {} of {} could not be wiped\n{}\n       \
         repair {which} or take it out; if the plane still\n       \
         orders a wipe, it is tried again in {} minutes at the earliest",
        failed.len(),
        count(disks.len()),
        failed.join("\n"),
        again.as_secs() / 60
    )
}

/// The plane does not want it any more.
pub fn wipe_revoked(error: &Error) -> String {
    format!(
        "STOP   the plane has taken back its order to wipe: {}\n       \
         what was erased until now is lost; asking the plane again what to do",
        error_text(error)
    )
}

/// All disks are wiped, and the plane does not know.
pub fn wipe_not_reported(error: &Error) -> String {
    let what = if error.is_refusal() { "the plane does not take it" } else { "the plane does not know it" };
    format!(
        "ERROR  the disks are wiped, but {what}: {}\n       {}\n       asking the plane again what to do",
        error_text(error),
        error.advice()
    )
}
