//! The Secrets that configurations come from and are kept in: without their contents.

use bloomery_api::contract::CLUSTER_LABEL;
use bloomery_api::metadata::rendered::{LABEL, NAMESPACE};
use bloomery_platform::watch::Watch;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

/// A Secret without its contents: they are not even asked for.
pub type SecretMeta = PartialObjectMeta<Secret>;

/// Both watches, before they run.
pub struct Watches {
    /// Secrets of clusters: the bootstrap data is among them.
    pub data: Watch<SecretMeta>,
    /// Configurations.
    pub rendered: Watch<SecretMeta>,
}

impl Watches {
    pub fn new(client: &Client) -> Self {
        // A configuration has the label of its cluster, too.
        let of_clusters = format!("{CLUSTER_LABEL},!{LABEL}");
        Self {
            data: Watch::labelled(Api::all(client.clone()), &of_clusters),
            rendered: Watch::labelled(Api::namespaced(client.clone(), NAMESPACE), LABEL),
        }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Self { data, rendered } = self;
        futures::join!(data.run(), rendered.run());
    }
}
