//! The one decision about a machine: what it is now, and what follows for power, boot and wiping.
//!
//! Duty: [`Standing::of`] reads a machine's standing from its objects; everything that anybody does with a
//! machine is a function of that standing: the status the controllers write ([`status`]), the command for its power
//! ([`power`]), what goes on record about its disks ([`records`]), what its firmware is given to boot ([`boot`],
//! after [`claim`]), what its agent is told to do ([`agent`]) and whose word "wiped" is believed ([`wiped`]). So power
//! and boot never disagree. Which Server a machine is, is decided before ([`identity`], [`registration`]).
//! Never takes the absence of something as leave to write to a disk: a lost binding, a lost status or an
//! unreadable object leads to an answer that leaves the machine alone.

pub mod age;
pub mod agent;
pub mod boot;
pub mod claim;
pub mod controllers;
pub mod identity;
pub mod order;
pub mod power;
pub mod records;
pub mod registration;
pub mod status;
pub mod tombstone;
pub mod unknown;
pub mod wiped;

use crate::condition::{self, ConditionStatus};
use crate::evidence::{DiskRecord, Evidence, VoidReason};
use crate::plane::Authority;
use crate::server::{PXE_BOOTED, Server};
use crate::server_binding::{ServerBinding, TALOS_INSTALLED};
use identity::Conflict;

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
///
/// Of the unclaimed ones each is `Conflicted` while another Server may be the same machine.
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
    /// Free as far as one sees, but another Server shares its UUID or a network card: held until a person decides.
    Conflicted,
}

impl Standing {
    /// Every standing, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::Unregistered,
        Self::BoundWithoutServer,
        Self::Bound,
        Self::Installed,
        Self::Lost,
        Self::Discovered,
        Self::Unconfirmed,
        Self::Dirty,
        Self::Clean,
        Self::Conflicted,
    ];

    /// Reads the standing. A binding always wins over what the Server says of itself, a claim on record over everything
    /// but a binding, and a conflict over what would let the machine be used or wiped.
    pub fn of(
        server: Option<&Server>,
        binding: Option<&ServerBinding>,
        evidence: &Evidence,
        conflict: Option<&Conflict>,
    ) -> Self {
        let Some(server) = server else {
            return if binding.is_some() { Self::BoundWithoutServer } else { Self::Unregistered };
        };
        let free = match binding {
            Some(binding) => return Self::bound(server, binding, evidence),
            None => Self::free(server, evidence),
        };
        if !free.is_claimed() && conflict.is_some_and(Conflict::holds) { Self::Conflicted } else { free }
    }

    fn bound(server: &Server, binding: &ServerBinding, evidence: &Evidence) -> Self {
        let conditions = server.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let seen = condition::find(conditions, PXE_BOOTED).is_some();
        // A lost status, here or on the binding, takes no node from its disk.
        let recorded = *evidence == Evidence::Installed
            && DiskRecord::of(server).is_some_and(|record| record.is_claim_for(binding));
        let is_noted = *evidence == Evidence::Void(VoidReason::Installed);
        if *evidence == Evidence::Void(VoidReason::OtherPlane) {
            // Another plane may have installed it; what became of that is not known here.
            Self::Unconfirmed
        } else if seen || recorded || is_noted || talos_installed(binding) {
            Self::Installed
        } else {
            Self::Bound
        }
    }

    fn free(server: &Server, evidence: &Evidence) -> Self {
        let status = server.status.as_ref();
        let in_use = status.is_some_and(|status| status.in_use);
        match evidence {
            Evidence::Bound | Evidence::Installed | Evidence::Void(VoidReason::Installed) => Self::Lost,
            // The record of the release is written before the status follows.
            Evidence::Released(_) if !server.spec.accepted => Self::Discovered,
            Evidence::Released(_) => Self::Dirty,
            _ if in_use => Self::Lost,
            Evidence::Void(_) => Self::Unconfirmed,
            _ if !server.spec.accepted => Self::Discovered,
            Evidence::NeverUsed(_) => Self::Dirty,
            Evidence::Clean(_) if status.is_some_and(|status| status.is_clean) => Self::Clean,
            Evidence::Unconsented(_) | Evidence::Clean(_) | Evidence::None => Self::Unconfirmed,
        }
    }

    /// True when a cluster has a claim on the disks, or may have one.
    pub const fn is_claimed(self) -> bool {
        match self {
            Self::BoundWithoutServer | Self::Bound | Self::Installed | Self::Lost | Self::Unconfirmed => true,
            Self::Unregistered | Self::Discovered | Self::Dirty | Self::Clean | Self::Conflicted => false,
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
            Self::Conflicted => "IdentityConflict",
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
                "nothing on record here says that its disks may be wiped; left alone until its ServerBinding is \
                 restored or a wipe is confirmed"
            }
            Self::Dirty => "accepted and free; its disks are wiped before it can be used",
            Self::Clean => "accepted, clean and free",
            Self::Conflicted => {
                "another Server may be the same machine; neither wiped nor powered until a person decides"
            }
        }
    }
}

/// A machine that has a Server, with everything that is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its Server.
    pub server: &'a Server,
    /// The ServerBinding of the same name.
    pub binding: Option<&'a ServerBinding>,
    /// Whether this plane may act.
    pub authority: &'a Authority,
    /// Whether another Server may be the same machine.
    pub conflict: Option<&'a Conflict>,
}

impl Machine<'_> {
    /// What its record proves.
    pub fn evidence(&self) -> Evidence {
        Evidence::of(self.server, self.authority)
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        Standing::of(Some(self.server), self.binding, &self.evidence(), self.conflict)
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
pub(crate) mod fixtures;
