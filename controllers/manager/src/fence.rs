//! Stops this plane when its machines seem to be another's: Servers of claimed machines that are gone, and objects that
//! `clusterctl move` takes away.
//!
//! Duty: to see it, at once and again each minute; what follows is [`bloomery_plane::Fencer`]'s. It is told by an event
//! on the Plane object and in the log.
//! Never counts a Server as gone before the list of all was complete.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::Plane;
use bloomery_api::plane::fence::{Observed, is_moving};
use bloomery_api::plane::{Authority, FENCED_ANNOTATION, NAME};
use bloomery_plane::{Fencer, Gate};
use bloomery_platform::chain;
use bloomery_platform::events::Notice;
use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::reconcile::Context;
use crate::watch::{Bindings, Servers};

/// Looked at also when nothing was seen: a watch may have lost something.
const EVERY: Duration = Duration::from_mins(1);
/// Between two looks at least.
const SETTLE: Duration = Duration::from_secs(1);
/// Until a look that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Until a kind is asked for again that is not served: Cluster API comes after the controllers, or never.
const UNTIL_SERVED: Duration = Duration::from_secs(10);
/// The same of one that was: what is moved away meanwhile is not seen.
const UNTIL_WATCHED: Duration = Duration::from_secs(1);
const REASON: &str = "Plane Fenced";
/// Kinds that `clusterctl move` marks at the source before it deletes them, and which machines belong to: group,
/// version and kind. One that is not served is asked for again and again.
const MOVED: [(&str, &str, &str); 2] = [
    ("cluster.x-k8s.io", "v1beta1", "Cluster"),
    ("infrastructure.cluster.x-k8s.io", "v1alpha3", "MetalMachine"),
];

pub struct Watched {
    pub servers: Servers,
    pub bindings: Bindings,
    /// Told of every change of both.
    pub touched: Arc<Notify>,
}

/// Objects that were seen while they were moved: they are gone moments later.
type Moving = Arc<Mutex<BTreeSet<String>>>;

pub async fn run(context: Context, gate: Gate, fencer: Fencer, watched: Watched, stop: CancellationToken) {
    let moving = Moving::default();
    let kinds =
        MOVED.map(|kind| watch(context.client.clone(), kind, Arc::clone(&moving), watched.touched.clone()));
    let looks = async {
        loop {
            let wait = look(&context, &gate, &fencer, &watched, &moving).await;
            // A rack that registers changes hundreds of Servers a second: one look serves them all.
            tokio::time::sleep(SETTLE).await;
            // What changed while it was looked at has left its mark in `touched`.
            let _ = tokio::time::timeout(wait, watched.touched.notified()).await;
        }
    };
    let all = async { futures::join!(futures::future::join_all(kinds), looks) };
    stop.run_until_cancelled(Box::pin(all)).await;
}

/// One look; when to look again.
async fn look(
    context: &Context,
    gate: &Gate,
    fencer: &Fencer,
    watched: &Watched,
    moving: &Moving,
) -> Duration {
    match gate.current().await {
        // Of a plane that stopped itself, what vanishes meanwhile is noted.
        Authority::Holds { .. } | Authority::Stopped { .. } => {}
        // Another plane's machines are none of its business, and what cannot be told is looked at again.
        Authority::Fenced { .. } => return EVERY,
        Authority::Unknown => return AGAIN,
    }
    let mut seen = moving.lock().clone();
    let is_listed = watched.servers.is_listed();
    let servers = watched.servers.known();
    seen.extend(marked("Server", servers.iter().map(AsRef::as_ref)));
    let bindings = watched.bindings.known();
    seen.extend(marked("ServerBinding", bindings.iter().map(AsRef::as_ref)));
    let names = is_listed.then(|| servers.iter().map(|server| server.name_any()).collect());
    let observed = Observed { moving: seen, servers: names };
    match fencer.look(&observed).await {
        Ok(is_fenced) => {
            if is_fenced {
                // Seen once is enough: the mark stays until a person takes it away, and it is not set again for these.
                forget(moving, &observed.moving);
                tell(context).await;
            }
            EVERY
        }
        Err(error) => {
            warn!(error = chain(&error), "not known whether this plane must stop; looked at again");
            AGAIN
        }
    }
}

fn forget(moving: &Moving, seen: &BTreeSet<String>) {
    moving.lock().retain(|object| !seen.contains(object));
}

fn marked<'a, K: Resource<DynamicType = ()> + 'a>(
    kind: &'static str,
    objects: impl Iterator<Item = &'a K>,
) -> Vec<String> {
    let moving = objects.filter(|object| is_moving(object.meta()));
    moving.map(|object| format!("{kind} {}", object.name_any())).collect()
}

/// Records the mark as an event on the Plane object.
async fn tell(context: &Context) {
    let planes: Api<Plane> = Api::all(context.client.clone());
    let plane = match planes.get_opt(NAME).await {
        Ok(plane) => plane,
        Err(error) => {
            warn!(error = chain(&error), "fence of this plane not told as an event");
            return;
        }
    };
    let Some((plane, why)) = plane.as_ref().and_then(|plane| Some((plane, plane.fenced()?))) else { return };
    let message = format!(
        "{why}: no machine is powered, wiped or accepted until a person has looked at them and says: kubectl annotate \
         plane {NAME} {FENCED_ANNOTATION}-"
    );
    context.notify(plane, Notice { warning: true, reason: REASON, action: "Stop", message });
}

/// Watches the metadata of a kind for objects that are moved away.
async fn watch(
    client: Client,
    (group, version, kind): (&str, &str, &str),
    moving: Moving,
    touched: Arc<Notify>,
) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let objects: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    // Not with its own backoff: each new list counts as a success there, so that it never grows.
    let mut events = std::pin::pin!(watcher(objects, watcher::Config::default()));
    let mut was_served = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => {
                if is_moving(&object.metadata) {
                    let namespace = object.namespace().unwrap_or_default();
                    let name = format!("{kind} {namespace}/{}", object.name_any());
                    moving.lock().insert(name);
                    touched.notify_one();
                }
            }
            Ok(Event::Init) => {}
            Ok(Event::InitDone) => was_served = true,
            Err(error) => {
                debug!(kind, error = chain(&error), "watch for moved objects failed");
                tokio::time::sleep(if was_served { UNTIL_WATCHED } else { UNTIL_SERVED }).await;
            }
        }
    }
}
