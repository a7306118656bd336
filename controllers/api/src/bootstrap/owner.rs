//! What a machine configuration is made for: a Machine, or all machines of a pool.

use crate::contract::{ContractReference, Machine, MachinePool, MachineSpec};

/// Kinds of the infrastructure provider whose machines take a configuration only after a line that names Talos.
const PACKET: [&str; 2] = ["PacketMachine", "PacketMachinePool"];

/// The owner of a TalosConfig.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// One machine.
    Machine(&'a Machine),
    /// All machines of a pool.
    Pool(&'a MachinePool),
}

impl<'a> Owner<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        let meta = match self {
            Self::Machine(machine) => &machine.metadata,
            Self::Pool(pool) => &pool.metadata,
        };
        meta.name.as_deref().unwrap_or_default()
    }

    /// Name of its Cluster.
    pub fn cluster(self) -> Option<&'a str> {
        let name = match self {
            Self::Machine(machine) => &machine.spec.cluster_name,
            Self::Pool(pool) => &pool.spec.cluster_name,
        };
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// What its machines are like.
    pub fn machine(self) -> &'a MachineSpec {
        match self {
            Self::Machine(machine) => &machine.spec,
            Self::Pool(pool) => &pool.spec.template.spec,
        }
    }

    /// The Secret that it has its configuration from already.
    pub fn data_secret(self) -> Option<&'a str> {
        self.machine().bootstrap.data_secret_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The object that stands for its infrastructure.
    pub fn infrastructure(self) -> Option<&'a ContractReference> {
        self.machine().infrastructure_ref.as_ref()
    }

    /// Whether a line that names Talos stands before its configuration.
    pub fn wants_talos_line(self) -> bool {
        self.infrastructure().is_some_and(|reference| PACKET.contains(&reference.kind.as_str()))
    }
}
