//! The infrastructure provider of Cluster API: MetalClusters, MetalMachines and their templates.
//!
//! The decisions are `bloomery_api::infrastructure`'s.

pub mod inventory;
pub mod metal_cluster;
pub mod metal_machine;
pub mod metal_machine_template;
mod watches;

pub use watches::Watches;

use std::time::Duration;

use crate::table::Definition;

/// As many workers as upstream has. What waits for something that no watch tells is looked at again as upstream does.
pub const METAL_MACHINES: Definition =
    Definition { name: "metalmachines", kind: "MetalMachine", workers: 10, resync: Duration::from_secs(20) };
/// Failure domains follow from labels of Servers, which are not watched for it.
pub const METAL_CLUSTERS: Definition =
    Definition { name: "metalclusters", kind: "MetalCluster", workers: 10, resync: Duration::from_secs(20) };
/// Capacities follow from the inventories of Servers, which hardly change.
pub const METAL_MACHINE_TEMPLATES: Definition = Definition {
    name: "metalmachinetemplates",
    kind: "MetalMachineTemplate",
    workers: 4,
    resync: Duration::from_mins(1),
};
