//! What wakes the controller: its objects, their Machines and Clusters.

use std::sync::Arc;

use bloomery_api::CONTROL_PLANE_GROUP;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_plane::Gate;
use bloomery_platform::watch::Watch;
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::reconcile::{Guarded, Shared, called};
use crate::cluster::owner;
use crate::infrastructure;
use crate::reconcile::Frame;
use crate::table::key;
use crate::workload::Workloads;

/// All watches, before they run.
pub struct Watches {
    pub control_planes: Watch<Guarded>,
}

impl Watches {
    /// Of all namespaces.
    pub fn new(client: &Client) -> Self {
        Self { control_planes: Watch::new(Api::all(client.clone())) }
    }

    /// Watches for ever.
    pub async fn run(self) {
        self.control_planes.run().await;
    }
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    gate: Gate,
    workloads: Arc<Workloads>,
    watches: &mut Watches,
    provider: &mut infrastructure::Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let known = watches.control_planes.feed.cache();
    let changes = watches.control_planes.feed.subscribe().filter_map(async |change| change.applied());
    let machines = provider.machines.feed.subscribe().filter_map(async |change| change.touched());
    let clusters = provider.clusters.feed.subscribe().filter_map(async |change| change.touched());
    let shared = Arc::new(Shared::new(frame, gate, workloads));
    Controller::for_shared_stream(changes, known.store())
        .with_config(shared.frame.config())
        .watches_shared_stream(machines, |machine| of_machine(&machine))
        .watches_shared_stream(clusters, |cluster| of_cluster(&cluster))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |control_plane, shared| Box::pin(called(&control_plane, &shared)).await,
            |control_plane, error, shared| shared.frame.after_failure(&key(control_plane.as_ref()), error),
            shared,
        )
        .map(drop)
}

/// The TalosControlPlane that a Machine belongs to.
fn of_machine(machine: &DeserializeGuard<Machine>) -> Option<ObjectRef<Guarded>> {
    let machine = machine.0.as_ref().ok()?;
    let owner = owner(&machine.metadata, CONTROL_PLANE_GROUP, "TalosControlPlane")?;
    Some(ObjectRef::new(&owner.name).within(&machine.namespace()?))
}

/// The TalosControlPlane that a Cluster refers to.
fn of_cluster(cluster: &DeserializeGuard<Cluster>) -> Option<ObjectRef<Guarded>> {
    let cluster = cluster.0.as_ref().ok()?;
    let reference = cluster.spec.control_plane_ref.as_ref()?;
    let is_ours = reference.kind == "TalosControlPlane" && reference.api_group == CONTROL_PLANE_GROUP;
    is_ours.then_some(ObjectRef::new(&reference.name).within(&cluster.namespace()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_cluster_wakes_the_control_plane_that_it_refers_to() {
        let woken = |reference: Value| {
            let cluster =
                serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "name": "c", "namespace": "n" }, "spec": { "controlPlaneRef": reference } }));
            of_cluster(&cluster.unwrap()).map(|found| (found.namespace.unwrap(), found.name))
        };
        let reference = |kind: &str, group: &str| json!({ "kind": kind, "apiGroup": group, "name": "cp" });
        assert_eq!(
            woken(reference("TalosControlPlane", CONTROL_PLANE_GROUP)),
            Some(("n".to_owned(), "cp".to_owned()))
        );
        assert_eq!(woken(reference("OtherControlPlane", CONTROL_PLANE_GROUP)), None);
        assert_eq!(woken(reference("TalosControlPlane", "other.example")), None);
        assert_eq!(woken(Value::Null), None);
    }
}
