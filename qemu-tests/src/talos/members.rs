//! The machines of a cluster on either board, as a lab's steps see them.

use super::{
    node::Node,
    parts::Parts,
    plane,
    site::NodeSite,
    supply::{self, Supply},
};
use crate::{
    bmc::BmcKind,
    console::Console,
    journey,
    machine::{Machine, MachineSpec, Site},
    switch::Command,
    vm::spec::BootPath,
};
use anyhow::Result;
use kube::Client;
use std::{sync::Arc, time::Duration};

/// A boot of the agent and a wipe on board `ns`, with the plane's pauses between power commands.
const NODE_LIMIT: Duration = Duration::from_mins(5);

/// Of what a cluster's machines are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// Talos in namespaces of this computer, in container mode.
    Ns,
    /// Virtual machines with firmware and disks, one UEFI, the next BIOS.
    Vm,
}

impl std::fmt::Display for Board {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Ns => "ns",
            Self::Vm => "vm",
        })
    }
}

impl Board {
    /// From the manifest to anything of the cluster: `vm` boots, installs and boots again, and pulls images then.
    pub(super) const fn cluster_limit(self) -> Duration {
        match self {
            Self::Ns => Duration::from_mins(8),
            Self::Vm => Duration::from_mins(40),
        }
    }
}

/// A machine of a cluster.
#[derive(Debug, Clone)]
pub enum Member {
    /// Of board [`Board::Ns`].
    Ns(Arc<Node>),
    /// Of board [`Board::Vm`].
    Vm(Arc<Machine>),
}

impl Member {
    /// Its name in the lab.
    pub fn name(&self) -> &str {
        match self {
            Self::Ns(node) => &node.name,
            Self::Vm(machine) => machine.name(),
        }
    }

    /// Name of its Server.
    pub fn uuid(&self) -> String {
        match self {
            Self::Ns(node) => node.identity.uuid.to_string(),
            Self::Vm(machine) => machine.uuid().to_owned(),
        }
    }

    /// The console of all power-ons.
    pub fn console(&self) -> Console {
        match self {
            Self::Ns(node) => node.console(),
            Self::Vm(machine) => machine.switch.whole_console(),
        }
    }

    /// A command to its power switch.
    ///
    /// # Errors
    /// It does not start or end.
    pub async fn obey(&self, command: Command) -> Result<()> {
        match self {
            Self::Ns(node) => node.obey(command).await,
            Self::Vm(machine) => machine.switch.obey(command).await,
        }
    }

    /// What its console says once Talos has the machine's configuration: from then on the plane may be away.
    pub(super) const fn configured(&self) -> &'static str {
        match self {
            Self::Ns(_) => "board: starts machined",
            Self::Vm(_) => "machine config loaded successfully",
        }
    }

    /// Waits until the machine is listed, with its hardware.
    pub(super) async fn registered(&self, plane: &Client) -> Result<()> {
        match self {
            Self::Ns(node) => plane::registered(plane, node, NODE_LIMIT).await.map(drop),
            Self::Vm(machine) => journey::registered(plane, machine).await.map(drop),
        }
    }

    /// Accepts the machine and tells where its power is switched.
    pub(super) async fn accept(&self, plane: &Client) -> Result<()> {
        match self {
            Self::Ns(node) => plane::accept(plane, node).await,
            Self::Vm(machine) => journey::accept(plane, machine, true).await,
        }
    }

    /// Waits until the machine is clean, off and free.
    pub(super) async fn clean(&self, plane: &Client) -> Result<()> {
        match self {
            Self::Ns(node) => plane::clean(plane, node, NODE_LIMIT).await,
            Self::Vm(machine) => journey::clean(plane, machine, journey::CLEAN_LIMIT, |_| {}).await.map(drop),
        }
    }

    /// Tells the plane what a node on board `ns` cannot; others do by `SideroLink`.
    pub(super) async fn announce(&self, plane: &Client) -> Result<()> {
        match self {
            Self::Ns(node) => plane::announce(plane, node).await,
            Self::Vm(_) => Ok(()),
        }
    }
}

/// What the machines of a board need around them.
#[derive(Debug)]
pub(super) enum Ground {
    /// Shared root, registry, the host's settings.
    Ns(Box<NodeSite>),
    /// Registry and boot files.
    Vm(Supply),
}

impl Ground {
    /// Makes `count` machines and what serves them; they are off.
    pub(super) async fn build(site: &Site, board: Board, count: u8) -> Result<(Self, Vec<Member>)> {
        let mut members = Vec::new();
        let ground = match board {
            Board::Ns => {
                let nodes = NodeSite::open(Arc::clone(&site.dir), Arc::clone(&site.net)).await?;
                nodes.balance(count).await?;
                for number in 1..=count {
                    members.push(Member::Ns(nodes.build(&format!("node-{number}"), number).await?));
                }
                Self::Ns(Box::new(nodes))
            }
            Board::Vm => {
                let supply = Supply::open(&site.dir, &site.net).await?;
                let mut machines = Vec::new();
                for number in 1..=count {
                    let path = if number % 2 == 1 { BootPath::Uefi } else { BootPath::Bios };
                    let spec = MachineSpec::new(path, number, supply::MEMORY, BmcKind::Http);
                    let machine = MachineSpec { vm: Supply::machine(path, number), ..spec };
                    machines.push(Arc::new(site.build(machine).await?));
                }
                let cards: Vec<&str> =
                    machines.iter().map(|machine| machine.switch.spec.mac.as_str()).collect();
                supply.balance(&site.net, &cards).await?;
                members.extend(machines.into_iter().map(Member::Vm));
                Self::Vm(supply)
            }
        };
        Ok((ground, members))
    }

    /// Makes the class and the Environment of the lab's machines.
    pub(super) async fn prepare(&self, plane: &Client) -> Result<()> {
        match self {
            Self::Ns(site) => plane::prepare(plane, site).await,
            Self::Vm(supply) => supply.prepare(plane).await,
        }
    }

    /// The programs.
    pub(super) const fn parts(&self) -> &Parts {
        match self {
            Self::Ns(site) => &site.parts,
            Self::Vm(supply) => &supply.parts,
        }
    }

    /// Cuts the power of what does not end with the lab's network by itself.
    pub(super) async fn stop(&self) -> Result<()> {
        match self {
            Self::Ns(site) => site.stop().await,
            Self::Vm(_) => Ok(()),
        }
    }
}
