//! Single messages: what is being waited for, what failed, and what to check.
//!
//! They must never blame without saying where to look.

use std::time::Duration;

use bloomery_hostnet::dhcp::{Event, Lease, LossReason, Phase};
use bloomery_hostnet::network::chain;
use bloomery_hostnet::{Link, MacAddr};

use crate::register::Error;

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

/// A failed registration.
pub fn register_failed(error: &Error, attempt: u32, retry_in: Duration) -> String {
    // A gRPC status is in the error's own text; its cause would say it twice.
    let text = match error {
        Error::Call { .. } => error.to_string(),
        Error::NoIdentity | Error::Endpoint { .. } | Error::Connect { .. } | Error::Silent { .. } => {
            chain(error)
        }
    };
    format!(
        "ERROR  attempt {attempt}: {text}\n       {}\n       next try in {} s",
        error.advice(),
        retry_in.as_secs().max(1)
    )
}
