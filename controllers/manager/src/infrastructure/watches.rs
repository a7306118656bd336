//! The one watch of each kind that the infrastructure provider works from.

use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::{MetalCluster, MetalMachine, MetalMachineTemplate};
use bloomery_platform::watch::Watch;
use kube::core::DeserializeGuard;
use kube::{Api, Client};

/// All watches, before they run.
pub struct Watches {
    pub clusters: Watch<DeserializeGuard<Cluster>>,
    pub machines: Watch<DeserializeGuard<Machine>>,
    pub metal_clusters: Watch<DeserializeGuard<MetalCluster>>,
    pub metal_machines: Watch<DeserializeGuard<MetalMachine>>,
    pub templates: Watch<DeserializeGuard<MetalMachineTemplate>>,
}

impl Watches {
    /// Of all namespaces. The kinds of Cluster API may come later, or never.
    pub fn new(client: &Client) -> Self {
        Self {
            clusters: Watch::new(Api::all(client.clone())),
            machines: Watch::new(Api::all(client.clone())),
            metal_clusters: Watch::new(Api::all(client.clone())),
            metal_machines: Watch::new(Api::all(client.clone())),
            templates: Watch::new(Api::all(client.clone())),
        }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Self { clusters, machines, metal_clusters, metal_machines, templates } = self;
        futures::join!(
            clusters.run(),
            machines.run(),
            metal_clusters.run(),
            metal_machines.run(),
            templates.run()
        );
    }
}
