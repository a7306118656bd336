//! One reconcile of a TalosControlPlane.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::TalosControlPlane;
use bloomery_api::contract::Cluster;
use bloomery_api::controlplane::bootstrap::{ETCD_ANNOTATION, NOWHERE};
use bloomery_api::controlplane::components;
use bloomery_api::controlplane::pass::{First, Step, decide, first};
use bloomery_api::controlplane::seen::SeenMachine;
use bloomery_api::controlplane::status::{self, Outcome, deleting, paused, waiting};
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::talos_control_plane::FINALIZER;
use bloomery_plane::Gate;
use bloomery_platform::patch::{self, Part};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::reference::Kinds;
use crate::cluster::{GROUP, is_paused, owner};
use crate::reconcile::{Error, Frame, read};
use crate::table::key;
use crate::workload::Workloads;

/// When to look again at what no watch tells of.
const SOON: Duration = Duration::from_secs(20);
/// When to look again after a step.
const AT_ONCE: Duration = Duration::from_millis(50);
/// When to look again while the cluster is not there yet, or a member of etcd leaves.
const SHORTLY: Duration = Duration::from_secs(3);

/// A TalosControlPlane, or what was wrong with it.
pub(super) type Guarded = DeserializeGuard<TalosControlPlane>;

/// What the reconciles share.
pub(super) struct Shared {
    pub(super) frame: Frame,
    gate: Gate,
    pub(super) kinds: Kinds,
    pub(super) workloads: Arc<Workloads>,
}

impl Shared {
    pub(super) fn new(frame: Frame, gate: Gate, workloads: Arc<Workloads>) -> Self {
        Self { frame, gate, kinds: Kinds::default(), workloads }
    }
}

/// What is reconciled, and by what.
pub(super) struct Scene<'a> {
    pub(super) shared: &'a Shared,
    pub(super) control_plane: TalosControlPlane,
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
    pub(super) now: Time,
}

pub(super) async fn called(cached: &Guarded, shared: &Shared) -> Result<Action, Error> {
    if !shared.gate.current().await.acts() {
        return Ok(shared.frame.wait_to_act());
    }
    shared.frame.observe(&key(cached), Box::pin(reconcile(cached, shared))).await
}

async fn reconcile(cached: &Guarded, shared: &Shared) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    let client = &shared.frame.urgent;
    let found = read::<TalosControlPlane>(&Api::namespaced(client.clone(), &namespace), &name).await?;
    let Some(control_plane) = found else { return Ok(Action::await_change()) };
    let cluster = match owner(&control_plane.metadata, GROUP, "Cluster") {
        Some(owner) => read::<Cluster>(&Api::namespaced(client.clone(), &namespace), &owner.name).await?,
        None => None,
    };
    let now = Time(Timestamp::now());
    let is_paused = is_paused(&control_plane.metadata, cluster.as_ref());
    let step = first(&control_plane, cluster.as_ref(), is_paused);
    // A deletion does not wait for a Cluster that is gone: the machines are found by their owner.
    let cluster = cluster.unwrap_or_default();
    let scene = Scene { shared, control_plane, cluster, namespace, now };
    match step {
        First::HandsOff => Ok(Action::await_change()),
        First::Paused => {
            scene.write_status(&paused(&scene.control_plane, &scene.now)).await?;
            Ok(Action::await_change())
        }
        First::Hold => scene.hold().await,
        First::WaitForCluster(why) => {
            let machines: Vec<_> = scene.machines().await?.iter().map(Scene::unasked).collect();
            let cluster = scene.cluster_name();
            let status = waiting(&scene.control_plane, cluster, &machines, &why, &scene.now);
            scene.write_status(&status).await?;
            Ok(Action::requeue(SOON))
        }
        First::Delete => scene.delete().await,
        First::Look => scene.pass().await,
    }
}

impl Scene<'_> {
    pub(super) fn cluster_name(&self) -> Option<&str> {
        self.cluster.metadata.name.as_deref()
    }

    pub(super) fn name(&self) -> String {
        self.control_plane.name_any()
    }

    pub(super) fn object(&self) -> String {
        format!("TalosControlPlane {}/{}", self.namespace, self.name())
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.shared.frame.urgent.clone(), &self.namespace)
    }

    /// Adds the finalizer. Where there was never a machine no node has an etcd: that is written down with it.
    async fn hold(&self) -> Result<Action, Error> {
        let machines = self.machines().await?;
        let mut change = json!({ "metadata": { "finalizers": self.finalizers(true) } });
        let has_annotation = self.control_plane.annotations().contains_key(ETCD_ANNOTATION);
        let was_bootstrapped = self.control_plane.status.as_ref().is_some_and(|status| status.bootstrapped);
        if machines.is_empty() && !has_annotation && !was_bootstrapped && !self.cluster.has_control_plane() {
            change["metadata"]["annotations"] = json!({ ETCD_ANNOTATION: NOWHERE });
        }
        self.change(change).await?;
        Ok(Action::requeue(AT_ONCE))
    }

    fn finalizers(&self, with_own: bool) -> Vec<&str> {
        let others =
            self.control_plane.finalizers().iter().map(String::as_str).filter(|name| *name != FINALIZER);
        others.chain(with_own.then_some(FINALIZER)).collect()
    }

    /// Deletes all machines at once: etcd goes with them. The finalizer goes with the last.
    async fn delete(&self) -> Result<Action, Error> {
        let machines = self.machines().await?;
        if machines.is_empty() {
            if let Some(cluster) = self.cluster_name() {
                self.shared.workloads.forget(&self.namespace, cluster);
            }
            self.change(json!({ "metadata": { "finalizers": self.finalizers(false) } })).await?;
            return Ok(Action::await_change());
        }
        let seen: Vec<_> = machines.iter().map(Self::unasked).collect();
        let status = deleting(&self.control_plane, self.cluster_name(), &seen, &self.now);
        self.write_status(&status).await?;
        for machine in machines.iter().filter(|machine| machine.metadata.deletion_timestamp.is_none()) {
            self.delete_machine(machine).await?;
        }
        Ok(Action::requeue(SOON))
    }

    /// Look, decide, one step, and what is said of it.
    async fn pass(&self) -> Result<Action, Error> {
        let mut created = self.keep_template().await?;
        let kubeconfig = Box::pin(self.keep_kubeconfig()).await;
        let (machines, nodes) = Box::pin(self.look()).await?;
        let view = self.view(&machines, &nodes);
        let decision = decide(&view);
        self.keep_machines(&machines).await?;
        let mut bootstrapped = Self::said_of_bootstrap(&view);
        let mut error = kubeconfig.err();
        let mut next = if matches!(decision.step, Step::Steady) && self.is_settled(&machines) {
            self.shared.frame.resync()
        } else if self.control_plane.status.as_ref().is_some_and(|status| status.initialized) {
            SOON
        } else {
            SHORTLY
        };
        match &decision.step {
            Step::Create => match Box::pin(self.create(&machines)).await? {
                Ok(()) => next = AT_ONCE,
                Err(verdict) => created = verdict,
            },
            Step::Bootstrap => {
                bootstrapped = Box::pin(self.bootstrap(&machines)).await?;
                next = if bootstrapped.severity.is_none() { AT_ONCE } else { SHORTLY };
            }
            Step::RemoveMember { .. } | Step::Mark(_) | Step::Leave(_) | Step::DeleteMachine(_) => {
                match Box::pin(self.take_away(&decision.step, &machines)).await {
                    Ok(()) => next = AT_ONCE,
                    Err(failed) => {
                        error = error.or(Some(failed));
                        next = SHORTLY;
                    }
                }
            }
            Step::Wait | Step::Steady => {}
        }
        let outcome = Outcome {
            decision: &decision,
            etcd: components::etcd(&machines),
            components: components::services(&machines),
            created,
            bootstrapped,
        };
        let status = status::status(&view, &outcome, &self.now);
        self.write_status(&status).await?;
        error.map_or(Ok(Action::requeue(next)), Err)
    }

    /// Whether nothing is on its way: every machine has a node, and the API server was heard.
    fn is_settled(&self, machines: &[SeenMachine]) -> bool {
        let status = self.control_plane.status.as_ref();
        let is_ready = status.is_some_and(|status| status.ready && status.unavailable_replicas == 0);
        is_ready && machines.iter().all(|seen| seen.machine.node().is_some())
    }

    /// Before etcd is made it is said what is waited for; after that it is true for good.
    fn said_of_bootstrap(view: &bloomery_api::controlplane::seen::View<'_>) -> Verdict {
        if view.is_bootstrapped() {
            Verdict::holds("Bootstrapped")
        } else {
            Verdict::waits("WaitingForMachines", "machines are being made")
        }
    }

    /// Merges a change into the object, if it is the one that was read.
    pub(super) async fn change(&self, change: Value) -> Result<TalosControlPlane, Error> {
        let api = self.api::<TalosControlPlane>();
        patch::merge(&api, &self.control_plane, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", self.object()))
    }
}
