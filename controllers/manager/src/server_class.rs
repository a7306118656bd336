//! The ServerClass controller: which machines a class has, and that `any` takes all of them.
//!
//! Servers come from a cache here: the lists inform, allocation looks again. A change of a Server touches
//! every class, so those changes are collected for a moment before the classes are counted anew.
//! Never takes a machine out of a class because it is dirty: allocation asks for that.

mod apply;
mod fetch;
mod plan;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::ServerClass;
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Context, Error, RESYNC};
use crate::watch::Servers;

/// Kind, for metrics and logs.
const KIND: &str = "ServerClass";
/// Workers, as many as upstream has.
const CONCURRENCY: u16 = 10;
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
    common: Context,
    servers: Servers,
    said: status::Said,
}

/// The controller as a stream that ends when `stop` is cancelled, and the store that it fills. It counts the `servers`
/// anew when `changed` says that one of them did.
pub fn controller(
    context: Context,
    servers: Servers,
    changed: Arc<Notify>,
    stop: CancellationToken,
) -> (Store<Guarded>, impl Stream<Item = ()> + Send) {
    let classes: Api<Guarded> = Api::all(context.client.clone());
    let (store, writer) = reflector::store();
    // The lists that were just written change no count: taken for news they would have the next one made at once.
    let news = watcher(classes, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let controller = Controller::for_stream(news, store.clone())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .reconcile_all_on(collected(changed, servers.clone()))
        .graceful_shutdown_on(stop.cancelled_owned());
    let context = Arc::new(ClassContext { common: context, servers, said: status::Said::default() });
    let work = controller
        .run(
            async |class, context| reconcile(&class.name_any(), &context).await,
            |class, error, context| context.common.after_failure(KIND, &class.name_any(), error),
            context,
        )
        .map(drop);
    (store, work)
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

async fn reconcile(name: &str, context: &ClassContext) -> Result<Action, Error> {
    let common = &context.common;
    common
        .observe(
            KIND,
            name,
            Box::pin(async {
                let Some(fetched) = fetch::fetch(&common.client, &context.servers, name).await? else {
                    return Ok(Action::await_change());
                };
                let objects = validate::validate(fetched)?;
                let plan = plan::plan(&objects);
                status::announce(common, &context.said, &objects.class, plan.as_ref().err());
                let plan = plan?;
                apply::apply(&common.client, name, &plan).await?;
                status::write(&common.client, name, &plan).await?;
                Ok(Action::requeue(RESYNC))
            }),
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_get_rarer_the_longer_the_lists_are() {
        let table =
            [(0, 250), (100, 250), (1000, 1000), (5000, 5000), (10_000, 10_000), (usize::MAX, 10_000)];
        for (servers, milliseconds) in table {
            assert_eq!(pause(servers), Duration::from_millis(milliseconds), "{servers}");
        }
    }
}
