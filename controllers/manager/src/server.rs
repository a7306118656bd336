//! The Server controller: finalizer, status and the events of a release.
//!
//! A reconcile is fetch → validate → plan → apply → status. Power and wiping are no part of it yet: power is
//! written as unknown, and nothing is ever switched or erased.
//! Never reads a binding from a cache: a machine is free only when the API server says so now.

mod apply;
mod fetch;
mod plan;
mod status;
mod validate;

use std::sync::Arc;

use bloomery_api::{Server, ServerBinding};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Context, Error, RESYNC};

/// Kind, for metrics and logs.
const KIND: &str = "Server";
/// Workers, as many as upstream has.
const CONCURRENCY: u16 = 10;

/// An object of the kind, or what was wrong with it: one malformed object must not stop the watch.
type Guarded = DeserializeGuard<Server>;

/// The controller as a stream that ends when `stop` is cancelled, and the store that it fills.
pub fn controller(
    context: Context,
    stop: CancellationToken,
) -> (Store<Guarded>, impl Stream<Item = ()> + Send) {
    let servers: Api<Guarded> = Api::all(context.client.clone());
    let bindings: Api<PartialObjectMeta<ServerBinding>> = Api::all(context.client.clone());
    let controller = Controller::new(servers, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        // A binding has the name of its Server.
        .watches(bindings, watcher::Config::default(), |binding| {
            Some(ObjectRef::<Guarded>::new(&binding.name_any()))
        })
        .graceful_shutdown_on(stop.cancelled_owned());
    let store = controller.store();
    let work = controller
        .run(
            async |server, context| reconcile(&server.name_any(), &context).await,
            |server, error, context| context.after_failure(KIND, &server.name_any(), error),
            Arc::new(context),
        )
        .map(drop);
    (store, work)
}

async fn reconcile(name: &str, context: &Context) -> Result<Action, Error> {
    context
        .observe(
            KIND,
            name,
            Box::pin(async {
                let Some(objects) = fetch::fetch(&context.client, name).await? else {
                    return Ok(Action::await_change());
                };
                let objects = validate::validate(objects)?;
                let now = Time(Timestamp::now());
                let plan = plan::plan(&objects.server, objects.binding.as_ref(), &now);
                let applied = apply::apply(&context.client, name, &objects.server, &plan).await?;
                if let Some(server) = applied {
                    status::write(context, &server, &plan).await?;
                }
                Ok(Action::requeue(RESYNC))
            }),
        )
        .await
}
