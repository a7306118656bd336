//! The Secrets that configurations come from and are kept in: without their contents.

use std::collections::HashMap;

use bloomery_api::contract::CLUSTER_LABEL;
use bloomery_api::metadata::rendered::{LABEL, NAMESPACE};
use bloomery_api::patch::ConfigPatch;
use bloomery_platform::watch::{Change, Feed, Watch, Watched};
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::watch::SecretMeta;

/// Names of the objects that came, went, or have other patches than before: no configuration depends on anything else of a
/// Server or a class, whose status changes all the time.
pub(super) fn repatched<K, F>(
    feed: &mut Feed<DeserializeGuard<K>>,
    patches: F,
) -> impl Stream<Item = String> + Send + use<K, F>
where
    K: Resource<DynamicType = ()> + 'static,
    DeserializeGuard<K>: Watched,
    F: Fn(&K) -> (&[ConfigPatch], &[String]) + Send + 'static,
{
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    feed.subscribe().filter_map(move |change| {
        let news = match change {
            Change::Applied(object) => {
                let now = object.0.as_ref().ok().map(|object| json!(patches(object)).to_string());
                let before = known.insert(object.name_any(), now.clone());
                (before.as_ref() != Some(&now)).then(|| object.name_any())
            }
            Change::Deleted(object) => {
                known.remove(&object.name_any());
                Some(object.name_any())
            }
            Change::Listed => None,
        };
        std::future::ready(news)
    })
}

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

#[cfg(test)]
mod tests {
    use bloomery_api::Server;
    use futures::FutureExt as _;
    use kube::runtime::watcher::Event;

    use super::*;

    #[tokio::test]
    async fn only_other_patches_are_news() {
        let mut feed: Feed<DeserializeGuard<Server>> = Feed::default();
        let mut news = Box::pin(repatched(&mut feed, |server: &Server| {
            (&server.spec.config_patches, &server.spec.strategic_patches)
        }));
        let mut server = Server::new("a", bloomery_api::ServerSpec::default());
        let mut told = |feed: &mut Feed<DeserializeGuard<Server>>, event: Event<DeserializeGuard<Server>>| {
            feed.see(event);
            news.next().now_or_never().flatten()
        };
        let applied = |server: &Server| Event::Apply(DeserializeGuard(Ok(server.clone())));
        assert_eq!(told(&mut feed, applied(&server)).as_deref(), Some("a"));
        server.status = Some(bloomery_api::ServerStatus::default());
        "host".clone_into(&mut server.spec.hostname);
        assert_eq!(told(&mut feed, applied(&server)), None);
        server.spec.strategic_patches.push("debug: true".to_owned());
        assert_eq!(told(&mut feed, applied(&server)).as_deref(), Some("a"));
        assert_eq!(told(&mut feed, applied(&server)), None);
        let gone = Event::Delete(DeserializeGuard(Ok(server.clone())));
        assert_eq!(told(&mut feed, gone).as_deref(), Some("a"));
        assert_eq!(told(&mut feed, applied(&server)).as_deref(), Some("a"));
    }
}
