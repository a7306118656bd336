//! The MetalMachineTemplate controller: what a machine of the template has at least, for an autoscaler.

use std::sync::Arc;

use bloomery_api::infrastructure::capacity::template_status;
use bloomery_api::plane::fence::is_moving;
use bloomery_api::server_class::matching::Membership;
use bloomery_api::{MetalMachineTemplate, Server, ServerClass};
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::Cache;
use futures::{Stream, StreamExt};
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::watches::Watches;
use crate::cluster::is_paused;
use crate::reconcile::{Error, Frame, readable};
use crate::status_patch::status_patch;
use crate::table::key;
use crate::watch::{GuardedServer, Servers};

type Guarded = DeserializeGuard<MetalMachineTemplate>;

struct Shared {
    frame: Frame,
    servers: Servers,
    classes: Cache<DeserializeGuard<ServerClass>>,
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    servers: Servers,
    classes: Cache<DeserializeGuard<ServerClass>>,
    watches: &mut Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let known = watches.templates.feed.cache();
    let changes = watches.templates.feed.subscribe().filter_map(async |change| change.applied());
    Controller::for_shared_stream(changes, known.store())
        .with_config(frame.config())
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |template, shared| {
                let object = key(template.as_ref());
                shared.frame.observe(&object, Box::pin(reconcile(template.as_ref(), &shared))).await
            },
            |template, error, shared| shared.frame.after_failure(&key(template.as_ref()), error),
            Arc::new(Shared { frame, servers, classes }),
        )
        .map(drop)
}

async fn reconcile(cached: &Guarded, shared: &Shared) -> Result<Action, Error> {
    let template = readable(cached.clone())?;
    let look_again = Action::requeue(shared.frame.resync());
    let meta = &template.metadata;
    let is_left_alone = is_moving(meta) || is_paused(meta, None) || meta.deletion_timestamp.is_some();
    if is_left_alone || !shared.servers.is_listed() || !shared.classes.is_listed() {
        return Ok(look_again);
    }
    let known = shared.servers.known();
    let status = template_status(fitting(&template, &known, shared)?);
    let Some(change) = status_patch(template.status.as_ref(), &status) else { return Ok(look_again) };
    let namespace = template.namespace().unwrap_or_default();
    let templates: Api<MetalMachineTemplate> = Api::namespaced(shared.frame.client.clone(), &namespace);
    patch::merge(&templates, &template, change, Part::Status, &PatchParams::default())
        .await
        .map_err(Error::api("patch status of", format!("MetalMachineTemplate {}", template.name_any())))?;
    Ok(look_again)
}

/// The Servers that a machine of the template may get: the one that it names, or the members of its class.
fn fitting<'a>(
    template: &MetalMachineTemplate,
    known: &'a [Arc<GuardedServer>],
    shared: &Shared,
) -> Result<Vec<&'a Server>, Error> {
    let spec = &template.spec.template.spec;
    let name = |reference: &Option<k8s_openapi::api::core::v1::ObjectReference>| {
        reference.as_ref().and_then(|reference| reference.name.clone()).filter(|name| !name.is_empty())
    };
    let servers = known.iter().filter_map(|server| server.0.as_ref().ok());
    if let Some(server) = name(&spec.server_ref) {
        return Ok(servers.filter(|found| found.name_any() == server).collect());
    }
    let class = name(&spec.server_class_ref).and_then(|class| shared.classes.named(&class));
    let Some(class) = class else { return Ok(Vec::new()) };
    let class = readable(class.as_ref().clone())?;
    // Its own controller says what is wrong with a class.
    let Ok(members) = Membership::of(&class) else { return Ok(Vec::new()) };
    Ok(servers.filter(|server| members.admits(server)).collect())
}
