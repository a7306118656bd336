//! The MetalCluster controller: its infrastructure is there once it has an owner, and its failure domains are the values of
//! a label of Servers.
//!
//! Never keeps a deletion waiting, unless it or its Cluster is paused or being moved.

use std::sync::Arc;

use bloomery_api::MetalCluster;
use bloomery_api::contract::Cluster;
use bloomery_api::infrastructure::cluster_status::{cluster_status, paused_status};
use bloomery_api::infrastructure::failure_domain::failure_domains;
use bloomery_api::metal_cluster::{FINALIZER, MetalClusterStatus};
use bloomery_api::plane::fence::is_moving;
use bloomery_plane::Gate;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::Cache;
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::watches::Watches;
use crate::cluster::{GROUP, is_paused, owner};
use crate::reconcile::{Error, Frame, read, readable};
use crate::status_patch::status_patch;
use crate::table::key;
use crate::watch::Servers;

type Guarded = DeserializeGuard<MetalCluster>;

struct Shared {
    frame: Frame,
    gate: Gate,
    servers: Servers,
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    gate: Gate,
    servers: Servers,
    watches: &mut Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let known = watches.metal_clusters.feed.cache();
    let changes = watches.metal_clusters.feed.subscribe().filter_map(async |change| change.applied());
    let clusters = watches.clusters.feed.subscribe().filter_map(async |change| change.touched());
    let of_cluster = known.clone();
    Controller::for_shared_stream(changes, known.store())
        .with_config(frame.config())
        .watches_shared_stream(clusters, move |cluster| owned_by(&of_cluster, cluster.meta()))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |cluster, shared| {
                let object = key(cluster.as_ref());
                shared.frame.observe(&object, Box::pin(reconcile(cluster.as_ref(), &shared))).await
            },
            |cluster, error, shared| shared.frame.after_failure(&key(cluster.as_ref()), error),
            Arc::new(Shared { frame, gate, servers }),
        )
        .map(drop)
}

/// The MetalClusters of a Cluster.
fn owned_by(known: &Cache<Guarded>, cluster: &ObjectMeta) -> Vec<ObjectRef<Guarded>> {
    let is_of = |found: &&Arc<Guarded>| {
        let meta = found.meta();
        let owner = owner(meta, GROUP, "Cluster").map(|owner| owner.name.as_str());
        meta.namespace == cluster.namespace && owner == cluster.name.as_deref()
    };
    known.known().iter().filter(is_of).map(|found| ObjectRef::from_obj(found.as_ref())).collect()
}

async fn reconcile(cached: &Guarded, shared: &Shared) -> Result<Action, Error> {
    if !shared.gate.current().await.acts() {
        return Ok(shared.frame.wait_to_act());
    }
    let cluster = readable(cached.clone())?;
    let look_again = Action::requeue(shared.frame.resync());
    let namespace = cluster.namespace().unwrap_or_default();
    let owner = owner(&cluster.metadata, GROUP, "Cluster").map(|owner| owner.name.clone());
    let owner = match &owner {
        Some(name) => {
            read::<Cluster>(&Api::namespaced(shared.frame.client.clone(), &namespace), name).await?
        }
        None => None,
    };
    if is_moving(&cluster.metadata) || owner.as_ref().is_some_and(|owner| is_moving(&owner.metadata)) {
        return Ok(Action::await_change());
    }
    let now = Time(Timestamp::now());
    if is_paused(&cluster.metadata, owner.as_ref()) {
        write_status(shared, &cluster, &paused_status(&cluster, &now)).await?;
        return Ok(Action::await_change());
    }
    let others = || cluster.finalizers().iter().map(String::as_str).filter(|name| *name != FINALIZER);
    let has_finalizer = cluster.finalizers().iter().any(|name| name == FINALIZER);
    if cluster.metadata.deletion_timestamp.is_some() {
        if has_finalizer {
            write_finalizers(shared, &cluster, &others().collect::<Vec<_>>()).await?;
        }
        return Ok(Action::await_change());
    }
    if owner.is_none() {
        return Ok(look_again);
    }
    let cluster = if has_finalizer {
        cluster.clone()
    } else {
        write_finalizers(shared, &cluster, &others().chain([FINALIZER]).collect::<Vec<_>>()).await?
    };
    let label = &cluster.spec.failure_domain_label;
    let has_label = !label.is_empty();
    if has_label && !shared.servers.is_listed() {
        return Ok(look_again);
    }
    let servers = if has_label { shared.servers.known() } else { Vec::new() };
    let domains = failure_domains(servers.iter().filter_map(|server| server.0.as_ref().ok()), label);
    write_status(shared, &cluster, &cluster_status(&cluster, domains, &now)).await?;
    Ok(if has_label { look_again } else { Action::await_change() })
}

async fn write_finalizers(
    shared: &Shared,
    cluster: &MetalCluster,
    finalizers: &[&str],
) -> Result<MetalCluster, Error> {
    let change = json!({ "metadata": { "finalizers": finalizers } });
    patch::merge(&api(shared, cluster), cluster, change, Part::Object, &PatchParams::default())
        .await
        .map_err(Error::api("patch", format!("MetalCluster {}", cluster.name_any())))
}

async fn write_status(
    shared: &Shared,
    cluster: &MetalCluster,
    status: &MetalClusterStatus,
) -> Result<(), Error> {
    let Some(change) = status_patch(cluster.status.as_ref(), status) else { return Ok(()) };
    patch::merge(&api(shared, cluster), cluster, change, Part::Status, &PatchParams::default())
        .await
        .map_err(Error::api("patch status of", format!("MetalCluster {}", cluster.name_any())))?;
    Ok(())
}

fn api(shared: &Shared, cluster: &MetalCluster) -> Api<MetalCluster> {
    Api::namespaced(shared.frame.client.clone(), &cluster.namespace().unwrap_or_default())
}
