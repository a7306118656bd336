//! What the agent of a machine is told when it registers (`CreateServer`).
//!
//! Never tells it to wipe a machine that is not accepted, that is or may be bound, or about which nobody
//! recorded that its disks may go.

use super::{Machine, Standing};
use crate::contents::ContentsClass;
use crate::evidence::{Evidence, RecordId};

/// Whether to wipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WipeOrder {
    /// Wipe all disks; the record that allows it.
    Wipe(RecordId),
    /// Write nothing.
    Refuse(WipeRefusal),
}

/// Why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WipeRefusal {
    /// The machine is not accepted.
    NotAccepted,
    /// A cluster has a claim on it, or may have.
    Claimed,
    /// The disks are clean already.
    AlreadyClean,
    /// Nothing on record allows it.
    NoEvidence,
    /// What the disks hold needs a person's word on top of acceptance.
    Contents(ContentsClass),
    /// Another Server may be the same machine.
    Conflict,
    /// This plane may not act.
    NoAuthority,
}

impl WipeRefusal {
    /// A sentence for the log and the agent's console.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotAccepted => "not accepted: nothing is written to this machine",
            Self::Claimed => "bound to a cluster, or not known to be released: nothing is written",
            Self::AlreadyClean => "the disks are clean",
            Self::NoEvidence => "nothing on record says that the disks may be wiped",
            Self::Contents(ContentsClass::System) => {
                "the disks hold a Talos installation or state of Kubernetes: a person must confirm the wipe"
            }
            Self::Contents(_) => "nobody can tell what the disks hold: a person must confirm the wipe",
            Self::Conflict => "another Server may be this machine: a person must decide",
            Self::NoAuthority => "this plane is not the one that may act on machines",
        }
    }
}

/// Options that shape the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentOptions {
    /// `--auto-bmc-setup`.
    pub auto_bmc_setup: bool,
    /// `--insecure-wipe`: wipe only the beginning and end of each disk.
    pub insecure_wipe: bool,
}

/// What the agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOrders {
    /// Where the machine stands.
    pub standing: Standing,
    /// Whether to wipe, and why not.
    pub wipe: WipeOrder,
    /// Whether a wipe may be a quick one.
    pub insecure_wipe: bool,
    /// Whether to set up access to the management controller.
    pub setup_bmc: bool,
    /// Whether to restart at once: the machine is bound and boots something else now.
    pub restart: bool,
}

/// Decides what the agent of a registered machine does.
pub fn agent(machine: &Machine<'_>, options: AgentOptions) -> AgentOrders {
    let Machine { server, binding: _, authority, conflict } = *machine;
    let standing = machine.standing();
    let wipe = wipe(standing, machine);
    AgentOrders {
        standing,
        insecure_wipe: matches!(wipe, WipeOrder::Wipe(_)) && options.insecure_wipe,
        wipe,
        // A claimed machine's controller was set up before, or is the user's. Of one in a conflict nobody knows whose
        // controller it is.
        setup_bmc: authority.acts()
            && server.spec.accepted
            && !standing.is_claimed()
            && conflict.is_none_or(|conflict| !conflict.holds())
            && server.spec.bmc.is_none()
            && options.auto_bmc_setup,
        restart: authority.acts() && matches!(standing, Standing::Bound | Standing::Installed),
    }
}

fn wipe(standing: Standing, machine: &Machine<'_>) -> WipeOrder {
    let evidence = machine.evidence();
    let refusal = match standing {
        _ if !machine.authority.acts() => WipeRefusal::NoAuthority,
        Standing::BoundWithoutServer | Standing::Bound | Standing::Installed | Standing::Lost => {
            WipeRefusal::Claimed
        }
        Standing::Unconfirmed => match evidence {
            Evidence::Unconsented(class) => WipeRefusal::Contents(class),
            _ => WipeRefusal::NoEvidence,
        },
        Standing::Unregistered | Standing::Discovered => WipeRefusal::NotAccepted,
        Standing::Conflicted => WipeRefusal::Conflict,
        Standing::Clean => WipeRefusal::AlreadyClean,
        // Asked again on purpose: what allows a wipe is read from the object, not from its standing.
        Standing::Dirty => match evidence.allows_wipe() {
            Some(record) if machine.server.spec.accepted => return WipeOrder::Wipe(record.clone()),
            _ => WipeRefusal::NoEvidence,
        },
    };
    WipeOrder::Refuse(refusal)
}

#[cfg(test)]
mod tests;
