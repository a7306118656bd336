//! The one decision about a machine: what it is now, and what follows for power, boot and wiping.
//!
//! Duty: [`Standing::of`] reads a machine's standing from its objects; everything that anybody does with a
//! machine is a function of that standing: the status the controllers write ([`status`]), the command for its power
//! ([`power`]), what goes on record about its disks ([`records`]), what its firmware is given to boot ([`boot`],
//! after [`claim`]) and
//! what its agent is told to do ([`agent`]). So power and boot never disagree.
//! Never takes the absence of something as leave to write to a disk: a lost binding, a lost status or an
//! unreadable object leads to an answer that leaves the machine alone.

pub mod agent;
pub mod boot;
pub mod claim;
pub mod power;
pub mod records;
pub mod status;

use crate::condition::{self, ConditionStatus};
use crate::evidence::Evidence;
use crate::server::{PXE_BOOTED, Server};
use crate::server_binding::{ServerBinding, TALOS_INSTALLED};

/// Result of looking for an object.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<T> {
    /// It is there.
    Found(T),
    /// It is known not to be there.
    NotFound,
    /// Nobody could tell.
    Failed,
}

impl<T> From<Option<T>> for Lookup<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::NotFound, Self::Found)
    }
}

/// Where a machine stands.
///
/// ```text
/// Unregistered ─register─▶ Discovered ─accept─▶ Dirty ─wipe─▶ Clean
///                                               ▲  ▲            │ bind
///                                       confirm │  │ release    ▼
///              Unconfirmed, Lost ───────────────┘  └───────── Bound ─install─▶ Installed ─release─▶ Dirty
///                    ▲ restore, move, vanished binding          │
///                    └──────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No Server, no binding: a machine nobody knows.
    Unregistered,
    /// A binding without its Server: bound all the same.
    BoundWithoutServer,
    /// Bound; its node has not said that it is installed.
    Bound,
    /// Bound, and its node is installed.
    Installed,
    /// A cluster has or had the machine, and its binding is gone without having been released.
    Lost,
    /// Registered, not accepted.
    Discovered,
    /// Accepted and free as far as one sees, but nothing on record here says what is on its disks.
    Unconfirmed,
    /// Accepted and free, and the record says that its disks may be wiped.
    Dirty,
    /// Accepted, free and wiped by us.
    Clean,
}

impl Standing {
    /// Every standing, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Unregistered,
        Self::BoundWithoutServer,
        Self::Bound,
        Self::Installed,
        Self::Lost,
        Self::Discovered,
        Self::Unconfirmed,
        Self::Dirty,
        Self::Clean,
    ];

    /// Reads the standing. A binding always wins over what the Server says of itself, and a claim on record over
    /// everything but a binding.
    pub fn of(server: Option<&Server>, binding: Option<&ServerBinding>, evidence: &Evidence) -> Self {
        let Some(server) = server else {
            return if binding.is_some() { Self::BoundWithoutServer } else { Self::Unregistered };
        };
        let status = server.status.as_ref();
        if let Some(binding) = binding {
            let seen = status.is_some_and(|status| condition::find(&status.conditions, PXE_BOOTED).is_some());
            return if seen || talos_installed(binding) { Self::Installed } else { Self::Bound };
        }
        let in_use = status.is_some_and(|status| status.in_use);
        match evidence {
            Evidence::Bound => Self::Lost,
            // The record of the release is written before the status follows.
            Evidence::Released(_) if !server.spec.accepted => Self::Discovered,
            Evidence::Released(_) => Self::Dirty,
            _ if in_use => Self::Lost,
            Evidence::Void(_) => Self::Unconfirmed,
            _ if !server.spec.accepted => Self::Discovered,
            Evidence::NeverUsed(_) => Self::Dirty,
            Evidence::Clean(_) if status.is_some_and(|status| status.is_clean) => Self::Clean,
            Evidence::Clean(_) | Evidence::None => Self::Unconfirmed,
        }
    }

    /// True when a cluster has a claim on the disks, or may have one.
    pub const fn is_claimed(self) -> bool {
        match self {
            Self::BoundWithoutServer | Self::Bound | Self::Installed | Self::Lost | Self::Unconfirmed => true,
            Self::Unregistered | Self::Discovered | Self::Dirty | Self::Clean => false,
        }
    }

    /// One word for conditions, events and log fields.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unregistered => "Unregistered",
            Self::BoundWithoutServer => "BoundWithoutServer",
            Self::Bound => "Bound",
            Self::Installed => "Installed",
            Self::Lost => "BindingLost",
            Self::Discovered => "NotAccepted",
            Self::Unconfirmed => "NotConfirmed",
            Self::Dirty => "NotClean",
            Self::Clean => "Available",
        }
    }

    /// A sentence that a person can act on.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unregistered => "no Server has this UUID",
            Self::BoundWithoutServer => {
                "a ServerBinding exists but its Server does not; the machine keeps booting from its disk"
            }
            Self::Bound => "bound to a MetalMachine; the node has not reported that it is installed",
            Self::Installed => "bound to a MetalMachine and installed",
            Self::Lost => {
                "a cluster had this machine and its ServerBinding vanished without being released; left alone until \
                 the ServerBinding is restored or a wipe is confirmed"
            }
            Self::Discovered => {
                "waiting to be accepted: set spec.accepted to true; nothing is written before"
            }
            Self::Unconfirmed => {
                "restored, moved or made by hand: nothing on record here says that its disks may be wiped; left alone \
                 until its ServerBinding is restored or a wipe is confirmed"
            }
            Self::Dirty => "accepted and free; its disks are wiped before it can be used",
            Self::Clean => "accepted, clean and free",
        }
    }
}

/// True when the binding says that the node's installation is complete.
pub(crate) fn talos_installed(binding: &ServerBinding) -> bool {
    binding
        .status
        .as_ref()
        .and_then(|status| condition::find(&status.conditions, TALOS_INSTALLED))
        .is_some_and(|condition| condition.status == ConditionStatus::True)
}

#[cfg(test)]
mod fixtures;
