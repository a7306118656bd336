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
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Context, Error, RESYNC};
use crate::watch::Servers;

/// Kind, for metrics and logs.
const KIND: &str = "ServerClass";
/// Workers, as many as upstream has.
const CONCURRENCY: u16 = 10;
/// Changes of Servers are collected for this long: a thousand registrations make a few counts, not thousands.
const COLLECT: Duration = Duration::from_millis(250);

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
    let controller = Controller::new(classes, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .reconcile_all_on(collected(changed))
        .graceful_shutdown_on(stop.cancelled_owned());
    let store = controller.store();
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

/// One item for each burst of changes: at once for the first, then at most every [`COLLECT`].
fn collected(changed: Arc<Notify>) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold((changed, false), |(changed, waited)| async move {
        if waited {
            tokio::time::sleep(COLLECT).await;
        }
        changed.notified().await;
        Some(((), (changed, true)))
    })
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
                status::announce(common, &context.said, &objects.class, plan.as_ref().err()).await;
                let plan = plan?;
                apply::apply(&common.client, name, &plan).await?;
                status::write(&common.client, name, &plan).await?;
                Ok(Action::requeue(RESYNC))
            }),
        )
        .await
}
