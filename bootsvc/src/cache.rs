//! All objects of a kind by their names, kept up to date by one watch.
//!
//! A cache can be behind. It must never be the ground of a write that does not name the version that it was made on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bloomery_api::lookup::Lookup;
use kube::Resource;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::health::Part;
use crate::kubernetes::Kubernetes;
use crate::watch::{self, Keeper, Seen};

/// The objects. Clones share them.
pub struct Cache<K>(Arc<Inner<K>>);

struct Inner<K> {
    state: RwLock<State<K>>,
    #[cfg(test)]
    fake: Option<(crate::fake_api::FakeApi, String)>,
}

struct State<K> {
    /// Whether the first list is complete: before it nothing is known not to be there.
    listed: bool,
    /// None for one that is there and cannot be read.
    objects: BTreeMap<String, Option<Arc<K>>>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let state = RwLock::new(State { listed: false, objects: BTreeMap::new() });
        Self(Arc::new(Inner {
            state,
            #[cfg(test)]
            fake: None,
        }))
    }
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// The object of this name.
    pub fn get(&self, name: &str) -> Lookup<Arc<K>> {
        #[cfg(test)]
        if let Some((fake, prefix)) = &self.0.fake {
            return fake.cached(&format!("{prefix}{name}"));
        }
        let state = self.0.state.read();
        match state.objects.get(name) {
            Some(Some(object)) => Lookup::Found(object.clone()),
            None if state.listed => Lookup::NotFound,
            Some(None) | None => Lookup::Failed,
        }
    }

    /// Follows the objects until `shutdown`.
    pub async fn follow(self, kubernetes: Kubernetes, part: Part, shutdown: CancellationToken) {
        watch::follow::<K>(self, kubernetes, part, shutdown).await;
    }

    /// The objects of a fake API below this path.
    #[cfg(test)]
    pub(crate) fn of_fake(fake: crate::fake_api::FakeApi, prefix: String) -> Self {
        let state = RwLock::new(State { listed: false, objects: BTreeMap::new() });
        Self(Arc::new(Inner { state, fake: Some((fake, prefix)) }))
    }
}

impl<K> Keeper<K> for Cache<K>
where
    K: Resource<DynamicType = ()>,
{
    fn listed(&self, all: BTreeMap<String, Seen<K>>) {
        let objects = all.into_iter().map(|(name, seen)| (name, kept(seen))).collect();
        *self.0.state.write() = State { listed: true, objects };
    }

    fn changed(&self, name: String, object: Seen<K>) {
        self.0.state.write().objects.insert(name, kept(object));
    }

    fn removed(&self, name: &str) {
        self.0.state.write().objects.remove(name);
    }
}

/// Who wrote which field is most of an object, and nobody asks for it here.
fn kept<K: Resource>(seen: Seen<K>) -> Option<Arc<K>> {
    let mut object = seen.ok()?;
    object.meta_mut().managed_fields = None;
    Some(Arc::new(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::{ServerBinding, ServerBindingSpec};

    fn binding(name: &str) -> (String, Seen<ServerBinding>) {
        (name.to_owned(), Ok(ServerBinding::new(name, ServerBindingSpec::default())))
    }

    #[test]
    fn nothing_is_known_not_to_be_there_before_the_first_list() {
        let cache = Cache::<ServerBinding>::default();
        assert!(matches!(cache.get("a"), Lookup::Failed));
        let (name, seen) = binding("a");
        cache.changed(name, seen);
        assert!(matches!(cache.get("a"), Lookup::Found(_)));
        assert!(matches!(cache.get("b"), Lookup::Failed));
        cache.listed([binding("b")].into());
        assert!(matches!(cache.get("a"), Lookup::NotFound));
        assert!(matches!(cache.get("b"), Lookup::Found(_)));
        cache.removed("b");
        assert!(matches!(cache.get("b"), Lookup::NotFound));
    }

    #[test]
    fn an_object_that_cannot_be_read_is_not_known_to_be_missing() {
        let cache = Cache::<ServerBinding>::default();
        cache.listed([("a".to_owned(), Err(kube::core::ObjectMeta::default()))].into());
        assert!(matches!(cache.get("a"), Lookup::Failed));
        let (name, seen) = binding("a");
        cache.changed(name.clone(), seen);
        assert!(matches!(cache.get("a"), Lookup::Found(_)));
        cache.changed(name, Err(kube::core::ObjectMeta::default()));
        assert!(matches!(cache.get("a"), Lookup::Failed));
    }
}
