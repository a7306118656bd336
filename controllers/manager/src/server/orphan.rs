//! Lets a deleted binding go whose Server does not exist: nothing but this would ever take our finalizer off.
//!
//! The Server controller never sees it, because a controller is only called for objects that exist.
//! Never touches a binding whose Server exists or cannot be read.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::ServerBinding;
use bloomery_api::decision::records::{BindingFinalizer, binding_without_server};
use bloomery_plane::Gate;
use futures::{Stream, StreamExt};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::{apply, fetch, validate};
use crate::reconcile::{Context, Error};

/// Kind, for metrics and logs.
const KIND: &str = "ServerBinding";
/// Workers: it takes two reads, and only for bindings on their way out.
const CONCURRENCY: u16 = 10;
/// When to look again at a binding on its way out: its Server may go first, and no event of that comes here.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

type Seen = PartialObjectMeta<ServerBinding>;

/// The controller as a stream that ends when `stop` is cancelled, and the store that it fills.
pub fn controller(
    context: Context,
    gate: Gate,
    stop: CancellationToken,
) -> (Store<Seen>, impl Stream<Item = ()> + Send) {
    let bindings: Api<Seen> = Api::all(context.client.clone());
    let controller = Controller::new(bindings, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    let store = controller.store();
    let work = controller
        .run(
            async |binding, shared| {
                let (context, gate) = shared.as_ref();
                let name = binding.name_any();
                if binding.metadata.deletion_timestamp.is_none() {
                    return Ok(Action::await_change());
                }
                context.observe(KIND, &name, Box::pin(reconcile(&name, context, gate))).await
            },
            |binding, error, shared| shared.0.after_failure(KIND, &binding.name_any(), error),
            Arc::new((context, gate)),
        )
        .map(drop);
    (store, work)
}

async fn reconcile(name: &str, context: &Context, gate: &Gate) -> Result<Action, Error> {
    let authority = gate.current().await;
    if !authority.acts() {
        return Ok(Action::requeue(super::until_it_acts(&authority)));
    }
    let fetch::Fetched { server: None, binding: Some(binding) } =
        fetch::fetch(&context.client, name, None).await?
    else {
        return Ok(Action::requeue(LOOK_AGAIN));
    };
    let binding = validate::readable(KIND, binding)?;
    let change = binding_without_server(&binding, &authority);
    apply::binding_finalizer(&context.client, name, &binding, change).await?;
    Ok(if change == BindingFinalizer::Keep { Action::requeue(LOOK_AGAIN) } else { Action::await_change() })
}
