//! The one watch of each kind that the bootstrap provider works from, besides those of Clusters and Machines.

use bloomery_api::TalosConfig;
use bloomery_api::contract::{CLUSTER_LABEL, MachinePool};
use bloomery_platform::watch::Watch;
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client};

/// A Secret without its contents: nobody keeps them here.
pub type SecretMeta = PartialObjectMeta<Secret>;

/// All watches, before they run.
pub struct Watches {
    pub configs: Watch<DeserializeGuard<TalosConfig>>,
    /// The kind may be missing: not every plane has machine pools.
    pub pools: Watch<DeserializeGuard<MachinePool>>,
    /// Those with the label of a cluster.
    pub secrets: Watch<SecretMeta>,
}

impl Watches {
    /// Of all namespaces.
    pub fn new(client: &Client) -> Self {
        Self {
            configs: Watch::new(Api::all(client.clone())),
            pools: Watch::new(Api::all(client.clone())),
            secrets: Watch::labelled(Api::all(client.clone()), CLUSTER_LABEL),
        }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Self { configs, pools, secrets } = self;
        futures::join!(configs.run(), pools.run(), secrets.run());
    }
}
