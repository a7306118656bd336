//! The one decision about a machine: what it is now, and what follows for power, boot and wiping.
//!
//! Duty: [`Standing::of`] reads a machine's standing from its objects; everything that anybody does with a
//! machine is a function of that standing: the status the controllers write ([`status`]), what its firmware
//! is given to boot ([`boot`]) and what its agent is told to do ([`agent`]). So power and boot never disagree.
//! Never takes the absence of something as leave to write to a disk: a lost binding, a lost status or an
//! unreadable object leads to an answer that leaves the machine alone.

pub mod agent;
pub mod boot;
pub mod status;

use crate::condition::{self, ConditionStatus};
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
///                                                 ▲             │ bind
///                                     confirm     │             ▼
///                     Releasing ──────────────────┘◀─unbind── Bound ─install─▶ Installed ─unbind─▶ Releasing
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
    /// The status says in use, but there is no binding: released a moment ago, or the binding was lost.
    Releasing,
    /// Registered, not accepted.
    Discovered,
    /// Accepted and free, with disks that hold who knows what.
    Dirty,
    /// Accepted, free and wiped.
    Clean,
}

impl Standing {
    /// Every standing, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Unregistered,
        Self::BoundWithoutServer,
        Self::Bound,
        Self::Installed,
        Self::Releasing,
        Self::Discovered,
        Self::Dirty,
        Self::Clean,
    ];

    /// Reads the standing. A binding always wins over what the Server says of itself.
    pub fn of(server: Option<&Server>, binding: Option<&ServerBinding>) -> Self {
        let Some(server) = server else {
            return if binding.is_some() { Self::BoundWithoutServer } else { Self::Unregistered };
        };
        let status = server.status.as_ref();
        if let Some(binding) = binding {
            let seen = status.is_some_and(|status| condition::find(&status.conditions, PXE_BOOTED).is_some());
            return if seen || talos_installed(binding) { Self::Installed } else { Self::Bound };
        }
        if status.is_some_and(|status| status.in_use) {
            return Self::Releasing;
        }
        if !server.spec.accepted {
            return Self::Discovered;
        }
        if status.is_some_and(|status| status.is_clean) { Self::Clean } else { Self::Dirty }
    }

    /// True when a cluster has a claim on the disks, or may have one.
    pub const fn is_claimed(self) -> bool {
        match self {
            Self::BoundWithoutServer | Self::Bound | Self::Installed | Self::Releasing => true,
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
            Self::Releasing => "Releasing",
            Self::Discovered => "NotAccepted",
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
            Self::Releasing => {
                "in use by its status but without a ServerBinding; left alone until the controllers confirm the release"
            }
            Self::Discovered => {
                "waiting to be accepted: set spec.accepted to true; nothing is written before"
            }
            Self::Dirty => {
                "accepted, but its disks are not known to be clean; it must be wiped before it can be used"
            }
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
