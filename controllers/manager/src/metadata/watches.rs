//! The Secrets that configurations come from and are kept in: without their contents.

use bloomery_api::contract::CLUSTER_LABEL;
use bloomery_api::metadata::rendered::{LABEL, NAMESPACE};
use bloomery_platform::watch::{Feed, run_metadata};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

/// A Secret without its contents.
pub type SecretMeta = PartialObjectMeta<Secret>;

/// Both watches, before they run.
pub struct Watches {
    client: Client,
    /// Secrets of clusters: the bootstrap data is among them.
    pub data: Feed<SecretMeta>,
    /// Configurations.
    pub rendered: Feed<SecretMeta>,
}

impl Watches {
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), data: Feed::default(), rendered: Feed::default() }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Self { client, data, rendered } = self;
        let (all, own) = (Api::all(client.clone()), Api::namespaced(client, NAMESPACE));
        // A configuration has the label of its cluster, too.
        let of_clusters = format!("{CLUSTER_LABEL},!{LABEL}");
        futures::join!(run_metadata(all, &of_clusters, data), run_metadata(own, LABEL, rendered));
    }
}
