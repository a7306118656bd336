//! A DHCP client (IPv4) that keeps one link configured for ever (RFC 2131, 2132, 3442, 3396).
//!
//! [`machine`] is the protocol without sockets and clocks, [`client`] drives it and puts leases onto
//! the link. It must never give up: every failure is followed by another try and said as an [`Event`].

use std::path::PathBuf;
use std::time::Duration;

mod client;
mod lease;
mod machine;
mod message;
mod options;
mod socket;

pub use client::Client;
pub use lease::{Lease, LeaseError, LeaseTimes};
pub use machine::{Identity, Machine, Output, Phase, SendTo, Timing};
pub use message::{MessageError, Reply, ReplyKind};

use crate::MacAddr;

/// Priority of routes from leases: the figure systemd-networkd uses, so that people find what they expect.
pub const ROUTE_METRIC: u32 = 1024;

/// The client's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kernel index of the link.
    pub index: u32,
    /// Name of the link, for `SO_BINDTODEVICE` and the log.
    pub name: String,
    /// Hardware address of the link.
    pub mac: MacAddr,
    /// Host name to tell the server (option 12), so that it can register it in DNS.
    pub hostname: Option<String>,
    /// Where name servers go; the real file, not a link to it. None: no `resolv.conf` is written.
    pub resolv_conf: Option<PathBuf>,
    /// Priority of the routes that come with leases.
    pub metric: u32,
    /// Retransmission times; the default is the RFC's.
    pub timing: Timing,
}

impl Config {
    /// A client for this link with the RFC's times, no host name and no `resolv.conf`.
    pub fn new(index: u32, name: &str, mac: MacAddr) -> Self {
        Self {
            index,
            name: name.to_owned(),
            mac,
            hostname: None,
            resolv_conf: None,
            metric: ROUTE_METRIC,
            timing: Timing::default(),
        }
    }
}

/// What happened. The link was changed before an event is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new lease, on the link.
    Bound(Lease),
    /// The lease was extended; it may say something new, also another address.
    Renewed(Lease),
    /// The lease is over, the address is off the link, and the client starts over.
    Lost {
        /// What was lost.
        lease: Lease,
        /// Why.
        reason: LossReason,
    },
    /// No server answers; sent at every retransmission after [`Timing::notice`].
    NoAnswer {
        /// What the client is trying.
        phase: Phase,
        /// How long no server has answered.
        silent: Duration,
        /// Whether the link has its carrier; without it no server can answer.
        carrier: bool,
    },
    /// Something on this host failed (socket, link); it is tried again.
    Failed {
        /// The error with its causes.
        error: String,
    },
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// Its time passed without an answer to renewals.
    Expired,
    /// A server refused to extend it (DHCPNAK).
    Refused,
}
