//! Lets a deleted binding go whose Server does not exist: nothing but this would ever take our finalizer off.
//!
//! The Server controller never sees it, because a controller is only called for objects that exist.
//! Never touches a binding whose Server exists or cannot be read.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::decision::records::{BindingFinalizer, binding_without_server};
use bloomery_plane::Gate;
use bloomery_platform::watch::Feed;
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use tokio_util::sync::CancellationToken;

use super::{apply, fetch, validate};
use crate::reconcile::{Context, Error};
use crate::watch::BindingMeta;

/// Kind, for metrics and logs.
const KIND: &str = "ServerBinding";
/// Workers: it takes two reads, and only for bindings on their way out.
const CONCURRENCY: u16 = 10;
/// When to look again at a binding on its way out: its Server may go first, and no event of that comes here.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    context: Context,
    gate: Gate,
    bindings: &mut Feed<BindingMeta>,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let changes = bindings.subscribe().filter_map(async |change| change.applied());
    let controller = Controller::for_shared_stream(changes, bindings.cache().store())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    controller
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
        .map(drop)
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
