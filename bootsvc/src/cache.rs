//! All objects of a kind by their names, kept up to date by one watch.
//!
//! A cache can be behind. It must never be the ground of a write that does not name the version that it was made on.

use std::borrow::Cow;
use std::sync::Arc;

use bloomery_api::lookup::Lookup;
use bloomery_platform::watch::{self, Feed, Watched};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{ClusterResourceScope, DeserializeGuard};
use kube::{Client, Resource};
use serde::{Deserialize, Deserializer};

/// An object, or what is wrong with it, as kube's [`DeserializeGuard`]: shared, as a class of ten thousand machines is
/// large.
#[derive(Debug, Clone)]
struct Guarded<K>(Result<Arc<K>, InvalidObject>);

impl<'de, K: Watched> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DeserializeGuard::<K>::deserialize(deserializer).map(|object| Self(object.0.map(Arc::new)))
    }
}

impl<K: Watched + Resource<Scope = ClusterResourceScope>> Resource for Guarded<K> {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, |object| object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => Arc::make_mut(object).meta_mut(),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

/// The objects. Clones share them.
#[derive(Clone)]
pub struct Cache<K: Watched + Resource<Scope = ClusterResourceScope>> {
    known: watch::Cache<Guarded<K>>,
    #[cfg(test)]
    fake: Option<(crate::tests::fake_api::FakeApi, String)>,
}

impl<K: Watched + Resource<Scope = ClusterResourceScope>> Cache<K> {
    /// The cache, and the watch that fills it while it is polled.
    pub fn watch(
        client: impl Fn() -> Option<Client> + Send,
        listed: impl Fn() + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let mut feed = Feed::default();
        feed.observe(move |change| {
            if let watch::Change::Listed = change {
                listed();
            }
        });
        (Self::of_feed(&feed), feed.run(client))
    }

    fn of_feed(feed: &Feed<Guarded<K>>) -> Self {
        Self {
            known: feed.cache(),
            #[cfg(test)]
            fake: None,
        }
    }

    /// The object of this name. One that is not what its kind should be is not known to be missing, and neither is any
    /// before the first list is complete.
    pub fn get(&self, name: &str) -> Lookup<Arc<K>> {
        #[cfg(test)]
        if let Some((fake, prefix)) = &self.fake {
            return fake.cached(&format!("{prefix}{name}"));
        }
        match self.known.named(name).as_deref() {
            Some(Guarded(Ok(object))) => Lookup::Found(Arc::clone(object)),
            None if self.known.is_listed() => Lookup::NotFound,
            Some(Guarded(Err(_))) | None => Lookup::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use bloomery_api::{ServerBinding, ServerBindingSpec};
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::tests::fake_api::FakeApi;

    impl<K: Watched + Resource<Scope = ClusterResourceScope>> Cache<K> {
        /// The objects of a fake API below this path.
        pub(crate) fn of_fake(fake: FakeApi, prefix: String) -> Self {
            Self { fake: Some((fake, prefix)), ..Self::of_feed(&Feed::default()) }
        }
    }

    fn binding(name: &str) -> Guarded<ServerBinding> {
        Guarded(Ok(Arc::new(ServerBinding::new(name, ServerBindingSpec::default()))))
    }

    fn list(
        feed: &mut Feed<Guarded<ServerBinding>>,
        bindings: impl IntoIterator<Item = Guarded<ServerBinding>>,
    ) {
        feed.see(Event::Init);
        bindings.into_iter().for_each(|binding| feed.see(Event::InitApply(binding)));
        feed.see(Event::InitDone);
    }

    #[test]
    fn nothing_is_known_not_to_be_there_before_the_first_list() {
        let mut feed = Feed::default();
        let cache = Cache::of_feed(&feed);
        assert!(matches!(cache.get("a"), Lookup::Failed));
        feed.see(Event::Apply(binding("a")));
        assert!(matches!(cache.get("a"), Lookup::Found(_)));
        assert!(matches!(cache.get("b"), Lookup::Failed));
        list(&mut feed, [binding("b")]);
        assert!(matches!(cache.get("a"), Lookup::NotFound));
        assert!(matches!(cache.get("b"), Lookup::Found(_)));
        feed.see(Event::Delete(binding("b")));
        assert!(matches!(cache.get("b"), Lookup::NotFound));
    }

    #[test]
    fn an_object_that_cannot_be_read_is_not_known_to_be_missing() {
        let mut feed = Feed::default();
        let cache = Cache::of_feed(&feed);
        let unreadable = || {
            serde_json::from_value::<Guarded<ServerBinding>>(
                json!({ "metadata": { "name": "a" }, "spec": "none" }),
            )
            .unwrap()
        };
        list(&mut feed, [unreadable()]);
        assert!(matches!(cache.get("a"), Lookup::Failed));
        feed.see(Event::Apply(binding("a")));
        assert!(matches!(cache.get("a"), Lookup::Found(_)));
        feed.see(Event::Apply(unreadable()));
        assert!(matches!(cache.get("a"), Lookup::Failed));
    }
}
