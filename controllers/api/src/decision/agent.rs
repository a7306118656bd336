//! What the agent of a machine is told when it registers (`CreateServer`).
//!
//! Never tells it to wipe a machine that is not accepted, that is or may be bound, or about which nobody
//! recorded that its disks may go.

use super::Standing;
use crate::evidence::{Evidence, RecordId};
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::ServerBinding;

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
pub fn agent(
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    options: AgentOptions,
) -> AgentOrders {
    let standing = Standing::of(Some(server), binding, &Evidence::of(server, authority));
    let wipe = wipe(standing, server, authority);
    AgentOrders {
        standing,
        insecure_wipe: matches!(wipe, WipeOrder::Wipe(_)) && options.insecure_wipe,
        wipe,
        // A claimed machine's controller was set up before, or is the user's.
        setup_bmc: authority.acts()
            && server.spec.accepted
            && !standing.is_claimed()
            && server.spec.bmc.is_none()
            && options.auto_bmc_setup,
        restart: authority.acts() && matches!(standing, Standing::Bound | Standing::Installed),
    }
}

fn wipe(standing: Standing, server: &Server, authority: &Authority) -> WipeOrder {
    let refusal = match standing {
        _ if !authority.acts() => WipeRefusal::NoAuthority,
        Standing::BoundWithoutServer | Standing::Bound | Standing::Installed | Standing::Lost => {
            WipeRefusal::Claimed
        }
        Standing::Unconfirmed => WipeRefusal::NoEvidence,
        Standing::Unregistered | Standing::Discovered => WipeRefusal::NotAccepted,
        Standing::Clean => WipeRefusal::AlreadyClean,
        // Asked again on purpose: what allows a wipe is read from the object, not from its standing.
        Standing::Dirty => match Evidence::of(server, authority).allows_wipe() {
            Some(record) if server.spec.accepted => return WipeOrder::Wipe(record.clone()),
            _ => WipeRefusal::NoEvidence,
        },
    };
    WipeOrder::Refuse(refusal)
}

#[cfg(test)]
mod tests;
