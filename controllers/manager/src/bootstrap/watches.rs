//! The one watch of each kind that the bootstrap provider works from, besides those that others have, too.

use bloomery_api::TalosConfig;
use bloomery_api::contract::MachinePool;
use bloomery_platform::watch::Watch;
use kube::core::DeserializeGuard;
use kube::{Api, Client};

/// Both watches, before they run.
pub struct Watches {
    pub configs: Watch<DeserializeGuard<TalosConfig>>,
    /// The kind may be missing: not every plane has machine pools.
    pub pools: Watch<DeserializeGuard<MachinePool>>,
}

impl Watches {
    /// Of all namespaces.
    pub fn new(client: &Client) -> Self {
        Self { configs: Watch::new(Api::all(client.clone())), pools: Watch::new(Api::all(client.clone())) }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Self { configs, pools } = self;
        futures::join!(configs.run(), pools.run());
    }
}
