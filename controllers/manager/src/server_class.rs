//! The ServerClass controller: which machines a class has, and that `any` takes all of them.
//!
//! Servers come from a cache here: the lists inform, allocation looks again. A change of a Server touches
//! every class, so those changes are collected for a moment before the classes are counted anew.
//! Never takes a machine out of a class because it is dirty: allocation asks for that.

mod plan;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::{Server, ServerClass};
use bloomery_platform::watch::{Change, Feed};
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Error, Frame, read};
use crate::table::{Key, key};
use crate::watch::{GuardedServer, Servers};

/// Changes of Servers are collected for at least this long: a thousand registrations make a few counts, not thousands.
const COLLECT: Duration = Duration::from_millis(250);
/// And for this long for each Server that there is, since a class names all of its machines and each count writes that
/// list anew: without it the cost of a hall that is switched on grows with the square of its size.
const COLLECT_EACH: Duration = Duration::from_millis(1);
/// But never longer.
const COLLECT_AT_MOST: Duration = Duration::from_secs(10);

/// An object of the kind, or what was wrong with it: one malformed object must not stop the watch.
type Guarded = DeserializeGuard<ServerClass>;

/// What this reconciler needs beyond the common context.
struct ClassContext {
    common: Frame,
    servers: Servers,
    said: status::Said,
}

/// The controller as a stream that ends when `stop` is cancelled. It counts the `servers`
/// anew when `changed` says that one of them did.
pub fn controller(
    context: Frame,
    servers: Servers,
    classes: &mut Feed<Guarded>,
    changed: Arc<Notify>,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let news = respecified(classes.subscribe());
    let controller = Controller::for_shared_stream(news, classes.cache().store())
        .with_config(context.config())
        .reconcile_all_on(collected(changed, servers.clone()))
        .graceful_shutdown_on(stop.cancelled_owned());
    let context = Arc::new(ClassContext { common: context, servers, said: status::Said::default() });
    controller
        .run(
            async |class, context| reconcile(&key(class.as_ref()), &context).await,
            |class, error, context| context.common.after_failure(&key(class.as_ref()), error),
            context,
        )
        .map(drop)
}

/// Classes that are new or whose spec changed. The lists that were just written change no count: taken for news they
/// would have the next one made at once.
fn respecified(
    changes: impl Stream<Item = Change<Guarded>> + Send,
) -> impl Stream<Item = Arc<Guarded>> + Send {
    let mut seen = HashMap::new();
    changes.filter_map(move |change| {
        let news = match change {
            Change::Applied(class) => {
                let now = (class.uid(), class.meta().generation);
                (seen.insert(class.name_any(), now.clone()) != Some(now)).then_some(class)
            }
            Change::Deleted(class) => {
                seen.remove(&class.name_any());
                None
            }
            Change::Listed => None,
        };
        std::future::ready(news)
    })
}

/// One item for each burst of changes: at once for the first, then at most every [`pause`].
fn collected(changed: Arc<Notify>, servers: Servers) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold((changed, servers, false), |(changed, servers, waited)| async move {
        if waited {
            tokio::time::sleep(pause(servers.count())).await;
        }
        changed.notified().await;
        Some(((), (changed, servers, true)))
    })
}

/// From one count of the classes to the next, with so many Servers.
fn pause(servers: usize) -> Duration {
    let each = COLLECT_EACH.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
    each.clamp(COLLECT, COLLECT_AT_MOST)
}

async fn reconcile(object: &Key, context: &ClassContext) -> Result<Action, Error> {
    let common = &context.common;
    let work = async {
        let servers = context.servers.all().await;
        let Some(class) = read::<ServerClass>(&Api::all(common.client.clone()), &object.name).await? else {
            return Ok(Action::await_change());
        };
        let plan = plan::plan(&class, readable(&servers));
        status::announce(common, &context.said, &class, plan.as_ref().err());
        status::write(&common.client, &object.name, &plan?).await?;
        Ok(Action::requeue(common.resync()))
    };
    common.observe(object, Box::pin(work)).await
}

/// Malformed Servers are left out, and keep no other out of its class; their own controller says what is wrong.
fn readable(servers: &[Arc<GuardedServer>]) -> impl Iterator<Item = &Server> {
    servers.iter().filter_map(|server| server.0.as_ref().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_malformed_server_is_left_out_and_the_others_stay() {
        let servers = [json!({ "accepted": true }), json!({ "accepted": 7 })].map(|spec| {
            let object = json!({
                "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
                "metadata": { "name": "a" }, "spec": spec,
            });
            Arc::new(serde_json::from_value(object).unwrap())
        });
        assert_eq!(readable(&servers).count(), 1);
    }

    #[test]
    fn counts_get_rarer_the_longer_the_lists_are() {
        let table =
            [(0, 250), (100, 250), (1000, 1000), (5000, 5000), (10_000, 10_000), (usize::MAX, 10_000)];
        for (servers, milliseconds) in table {
            assert_eq!(pause(servers), Duration::from_millis(milliseconds), "{servers}");
        }
    }
}
