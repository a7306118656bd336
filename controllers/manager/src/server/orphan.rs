//! Lets a deleted binding go whose Server does not exist: nothing but this would ever take our finalizer off. Of the
//! others it has said whether their Server exists.
//!
//! The Server controller never sees it, because a controller is only called for objects that exist.
//! Never touches a binding whose Server exists or cannot be read.

use std::sync::Arc;

use bloomery_api::decision::records::{BindingFinalizer, binding_without_server};
use bloomery_api::{Server, ServerBinding};
use bloomery_plane::Gate;
use bloomery_platform::watch::Feed;
use futures::{Stream, StreamExt};
use kube::runtime::controller::{Action, Controller};
use kube::{Api, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::apply;
use crate::reconcile::{Error, Frame, NOT_ACTING, read};
use crate::server_binding;
use crate::table::key;
use crate::watch::{GuardedBinding, GuardedServer};

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    gate: Gate,
    bindings: &mut Feed<GuardedBinding>,
    servers: &mut Feed<GuardedServer>,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let changes = bindings.subscribe().filter_map(async |change| change.applied());
    // A binding has the name of its Server: one that comes or goes changes what its binding says.
    let existing = server_binding::appearances(servers);
    let controller = Controller::for_shared_stream(changes, bindings.cache().store())
        .with_config(frame.config())
        .reconcile_on(existing)
        .graceful_shutdown_on(stop.cancelled_owned());
    let servers = servers.cache();
    controller
        .run(
            async |binding, shared| {
                let (frame, gate, servers) = shared.as_ref();
                if binding.meta().deletion_timestamp.is_none() {
                    return server_binding::keep_ready(frame, gate, binding.as_ref(), servers).await;
                }
                frame
                    .observe(&key(binding.as_ref()), Box::pin(reconcile(&binding.name_any(), frame, gate)))
                    .await
            },
            |binding, error, shared| shared.0.after_failure(&key(binding.as_ref()), error),
            Arc::new((frame, gate, servers)),
        )
        .map(drop)
}

async fn reconcile(name: &str, frame: &Frame, gate: &Gate) -> Result<Action, Error> {
    let authority = gate.current().await;
    if !authority.acts() {
        return Ok(frame.wait(NOT_ACTING, super::until_it_acts(&authority)));
    }
    let look_again = Action::requeue(frame.resync());
    let servers: Api<Server> = Api::all(frame.client.clone());
    let server = servers.get_metadata_opt(name).await;
    if server.map_err(Error::api("get", format!("Server {name}")))?.is_some() {
        return Ok(look_again);
    }
    let bindings = Api::all(frame.client.clone());
    let Some(binding) = read::<ServerBinding>(&bindings, name).await? else {
        return Ok(Action::await_change());
    };
    let change = binding_without_server(&binding, &authority);
    apply::binding_finalizer(&frame.urgent, name, &binding, change).await?;
    Ok(if change == BindingFinalizer::Keep { look_again } else { Action::await_change() })
}
