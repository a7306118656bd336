//! What the agent of a machine is told when it registers (`CreateServer`).
//!
//! Never tells it to wipe a machine that is not accepted, that is or may be bound, or about which nobody
//! recorded that its disks may go.

use super::Standing;
use crate::server::Server;
use crate::server_binding::ServerBinding;

/// What this plane is able to do. Facts of the release, not options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether the agent can wipe and the plane keeps the evidence for it.
    pub wipe: bool,
}

impl Capabilities {
    /// This release registers machines and does not wipe them.
    pub const CURRENT: Self = Self { wipe: false };
}

/// What is on record about the disks of a machine. Kept where a move or a restore does not lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing is on record.
    None,
    /// This plane never gave the machine to a cluster since it was accepted.
    NeverUsed,
    /// A cluster had it, and this plane took it back.
    Released,
}

/// Whether to wipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WipeOrder {
    /// Wipe all disks.
    Wipe,
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
    /// This release does not wipe.
    NotSupported,
}

impl WipeRefusal {
    /// A sentence for the log and the agent's console.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotAccepted => "not accepted: nothing is written to this machine",
            Self::Claimed => "bound to a cluster, or not known to be released: nothing is written",
            Self::AlreadyClean => "the disks are clean",
            Self::NoEvidence => "nothing on record says that the disks may be wiped",
            Self::NotSupported => "this release does not wipe machines",
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentOrders {
    /// Whether to wipe, and why not.
    pub wipe: WipeOrder,
    /// Whether a wipe may be a quick one.
    pub insecure_wipe: bool,
    /// Whether to set up access to the management controller.
    pub setup_bmc: bool,
}

/// Decides what the agent of a registered machine does.
pub fn agent(
    server: &Server,
    binding: Option<&ServerBinding>,
    evidence: Evidence,
    options: AgentOptions,
    capabilities: Capabilities,
) -> AgentOrders {
    let standing = Standing::of(Some(server), binding);
    let wipe = wipe(standing, server.spec.accepted, evidence, capabilities);
    AgentOrders {
        wipe,
        insecure_wipe: wipe == WipeOrder::Wipe && options.insecure_wipe,
        // A claimed machine's controller was set up before, or is the user's.
        setup_bmc: server.spec.accepted
            && !standing.is_claimed()
            && server.spec.bmc.is_none()
            && options.auto_bmc_setup,
    }
}

fn wipe(standing: Standing, accepted: bool, evidence: Evidence, capabilities: Capabilities) -> WipeOrder {
    let refusal = match standing {
        Standing::BoundWithoutServer | Standing::Bound | Standing::Installed | Standing::Releasing => {
            WipeRefusal::Claimed
        }
        Standing::Unregistered | Standing::Discovered => WipeRefusal::NotAccepted,
        Standing::Clean => WipeRefusal::AlreadyClean,
        Standing::Dirty if !accepted => WipeRefusal::NotAccepted,
        Standing::Dirty => match (capabilities.wipe, evidence) {
            (false, _) => WipeRefusal::NotSupported,
            (true, Evidence::None) => WipeRefusal::NoEvidence,
            (true, Evidence::NeverUsed | Evidence::Released) => return WipeOrder::Wipe,
        },
    };
    WipeOrder::Refuse(refusal)
}

#[cfg(test)]
mod tests;
