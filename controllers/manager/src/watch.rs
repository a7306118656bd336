//! What is watched of each kind.

use std::sync::Arc;

use bloomery_api::{Server, ServerBinding};
use bloomery_platform::watch::{Cache, Feed, Watched};
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use tokio::sync::Notify;

/// A Server, or what was wrong with it: one malformed object must not stop the watch.
pub type GuardedServer = DeserializeGuard<Server>;
/// A binding, or what was wrong with it.
pub type GuardedBinding = DeserializeGuard<ServerBinding>;
/// A Secret without its contents: they are not even asked for.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// All Servers, malformed ones included.
pub type Servers = Cache<GuardedServer>;
/// All bindings.
pub type Bindings = Cache<GuardedBinding>;

/// Wakes one who waits for any change.
pub fn wake<K: Watched>(feed: &mut Feed<K>, touched: &Arc<Notify>) {
    let touched = Arc::clone(touched);
    feed.observe(move |_| touched.notify_one());
}
