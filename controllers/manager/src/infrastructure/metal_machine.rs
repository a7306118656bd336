//! The MetalMachine controller: gives machines of clusters their Servers and takes them back.
//!
//! A reconcile is view → decide → one step, and again from what that step wrote, until there is nothing to do. What it sees
//! may come from caches: each write names the version of the object that was read, and whatever lets a Server go is
//! decided once more on objects that were read for it.
//! Never acts for a plane that does not.

mod bind;
mod node;
mod provide;
mod release;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::infrastructure::lease::is_held_by_another;
use bloomery_api::infrastructure::machine::{Step, decide};
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::metal_machine::FINALIZER;
use bloomery_api::plane::Authority;
use bloomery_api::{MetalCluster, MetalMachine, ServerBinding, ServerClass};
use bloomery_plane::Gate;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::{Cache, Feed};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::inventory::Inventory;
use super::watches::Watches;
use crate::cluster::cluster_name;
use crate::fleet::Fleet;
use crate::reconcile::{Error, Frame, readable};
use crate::table::key;
use crate::watch::{Bindings, GuardedBinding, Servers};
use crate::workload::Workloads;
use crate::written::{UNTIL_SHOWN, Written};

/// Why nothing is reconciled at start.
const NOT_LISTED: &str = "the lists of Servers, bindings, Clusters and Machines";
/// When to look again while those are not complete.
const UNTIL_LISTED: Duration = Duration::from_millis(500);
/// Steps of one reconcile: hold, bind, provide, and one to spare.
const MOST_STEPS: u32 = 4;
/// When to look again after that many.
const AFTER_STEPS: Duration = Duration::from_millis(500);
/// When a machine with a Server is looked at again, though nothing changed.
const WHEN_PROVIDED: Duration = Duration::from_mins(5);
/// When it is looked for the node of a machine that has none yet.
const UNTIL_NODE: Duration = Duration::from_secs(5);

/// A MetalMachine, or what was wrong with it.
type Guarded = DeserializeGuard<MetalMachine>;

/// What this controller works from besides its own kind.
pub struct Inputs<'a> {
    pub gate: Gate,
    pub fleet: Fleet,
    pub inventory: Inventory,
    pub servers: Servers,
    pub bindings: &'a mut Feed<GuardedBinding>,
    pub classes: Cache<DeserializeGuard<ServerClass>>,
    pub workloads: Arc<Workloads>,
}

/// What the reconciles share.
struct Shared {
    frame: Frame,
    gate: Gate,
    fleet: Fleet,
    inventory: Inventory,
    servers: Servers,
    bindings: Bindings,
    classes: Cache<DeserializeGuard<ServerClass>>,
    clusters: Cache<DeserializeGuard<Cluster>>,
    machines: Cache<DeserializeGuard<Machine>>,
    metal_clusters: Cache<DeserializeGuard<MetalCluster>>,
    workloads: Arc<Workloads>,
    /// Those that found no Server.
    waiting: Mutex<BTreeSet<(String, String)>>,
    written: Written,
    /// Name of this program among those that look for Servers.
    program: String,
}

/// What is decided by.
struct Scene<'a> {
    shared: &'a Shared,
    authority: &'a Authority,
    now: Time,
}

/// What a step leads to.
enum Next {
    /// The next step, from this object.
    Again(Box<MetalMachine>),
    /// The next step, from this object and the binding that was made for it, which no cache has seen yet.
    Bound(Box<MetalMachine>, Box<ServerBinding>),
    /// Nothing more for now.
    Done(Action),
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    inputs: Inputs<'_>,
    watches: &mut Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let Inputs { gate, fleet, inventory, servers, bindings, classes, workloads } = inputs;
    let known = watches.metal_machines.feed.cache();
    let changes = watches.metal_machines.feed.subscribe().filter_map(async |change| change.applied());
    let bound = bindings.subscribe().filter_map(async |change| change.touched());
    let owners = watches.machines.feed.subscribe().filter_map(async |change| change.touched());
    let clusters = watches.clusters.feed.subscribe().filter_map(async |change| change.touched());
    let of_cluster = known.clone();
    let shared = Arc::new(Shared {
        frame,
        gate,
        fleet,
        inventory,
        servers,
        bindings: bindings.cache(),
        classes,
        clusters: watches.clusters.feed.cache(),
        machines: watches.machines.feed.cache(),
        metal_clusters: watches.metal_clusters.feed.cache(),
        workloads,
        waiting: Mutex::default(),
        written: Written::default(),
        program: bloomery_plane::digits(),
    });
    Controller::for_shared_stream(changes, known.store())
        .with_config(shared.frame.config())
        .watches_shared_stream(bound, |binding| claimant(&binding))
        .watches_shared_stream(owners, |owner| infrastructure(&owner))
        .watches_shared_stream(clusters, move |cluster| machines_of(&of_cluster, cluster.meta()))
        .reconcile_on(woken(Arc::clone(&shared)))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |machine, shared| Box::pin(called(&machine, &shared)).await,
            |machine, error, shared| shared.frame.after_failure(&key(machine.as_ref()), error),
            shared,
        )
        .map(drop)
}

/// The MetalMachine that a binding is for.
fn claimant(binding: &GuardedBinding) -> Option<ObjectRef<Guarded>> {
    let machine = &binding.0.as_ref().ok()?.spec.metal_machine_ref;
    Some(ObjectRef::new(machine.name.as_deref()?).within(machine.namespace.as_deref()?))
}

/// The MetalMachine of a Machine.
fn infrastructure(owner: &DeserializeGuard<Machine>) -> Option<ObjectRef<Guarded>> {
    let machine = owner.0.as_ref().ok()?;
    let reference = machine.spec.infrastructure_ref.as_ref()?;
    let is_ours =
        reference.kind == "MetalMachine" && reference.api_group == bloomery_api::INFRASTRUCTURE_GROUP;
    is_ours.then(|| ObjectRef::new(&reference.name).within(&owner.namespace().unwrap_or_default()))
}

/// The MetalMachines of a Cluster.
fn machines_of(machines: &Cache<Guarded>, cluster: &ObjectMeta) -> Vec<ObjectRef<Guarded>> {
    let is_of = |machine: &&Arc<Guarded>| {
        let meta = machine.meta();
        meta.namespace == cluster.namespace && cluster_name(meta) == cluster.name.as_deref()
    };
    machines.known().iter().filter(is_of).map(|machine| ObjectRef::from_obj(machine.as_ref())).collect()
}

/// Those that wait for a Server, each time that some became free.
fn woken(shared: Arc<Shared>) -> impl Stream<Item = ObjectRef<Guarded>> + Send {
    let bursts = futures::stream::unfold(shared, |shared| async move {
        shared.inventory.freed().await;
        let waiting = shared.waiting.lock().clone();
        Some((futures::stream::iter(waiting), shared))
    });
    bursts.flatten().map(|(namespace, name)| ObjectRef::new(&name).within(&namespace))
}

async fn called(cached: &Arc<Guarded>, shared: &Shared) -> Result<Action, Error> {
    let object = key(cached.as_ref());
    let authority = shared.gate.current().await;
    if !authority.acts() {
        return Ok(shared.frame.wait_to_act());
    }
    let is_listed = shared.servers.is_listed() && shared.bindings.is_listed();
    let are_owners_listed = shared.clusters.is_listed() && shared.machines.is_listed();
    // A deletion reads its owners by itself, and does not wait for kinds that nobody serves.
    if !is_listed || (!are_owners_listed && cached.meta().deletion_timestamp.is_none()) {
        return Ok(shared.frame.wait(NOT_LISTED, UNTIL_LISTED));
    }
    if shared.written.is_awaited(&object, cached.meta()) {
        return Ok(Action::requeue(UNTIL_SHOWN));
    }
    shared.forget_waiting(cached.meta());
    let work = async {
        let (mut machine, mut made) = (readable(cached.as_ref().clone())?, None);
        let scene = Scene { shared, authority: &authority, now: Time(Timestamp::now()) };
        for _ in 0..MOST_STEPS {
            match Box::pin(scene.step(&machine, made.as_deref())).await? {
                Next::Again(next) => machine = *next,
                Next::Bound(next, binding) => (machine, made) = (*next, Some(binding)),
                Next::Done(action) => return Ok(action),
            }
        }
        Ok(Action::requeue(AFTER_STEPS))
    };
    shared.frame.observe(&object, Box::pin(work)).await
}

impl Shared {
    fn machines(&self, namespace: &str) -> Api<MetalMachine> {
        Api::namespaced(self.frame.claims.clone(), namespace)
    }

    fn wait_for_server(&self, meta: &ObjectMeta) {
        self.waiting.lock().insert(place_of(meta));
    }

    fn forget_waiting(&self, meta: &ObjectMeta) {
        self.waiting.lock().remove(&place_of(meta));
    }
}

/// Namespace and name.
fn place_of(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl Scene<'_> {
    async fn step(&self, machine: &MetalMachine, made: Option<&ServerBinding>) -> Result<Next, Error> {
        let known = if machine.metadata.deletion_timestamp.is_some() {
            self.read_fresh(machine).await?
        } else {
            self.see(machine, made)?
        };
        let own = known.own(machine);
        let view = known.view(machine, &own);
        let decision = decide(&view);
        let look_again = Action::requeue(self.shared.frame.resync());
        match decision.step {
            Step::HandsOff => Ok(Next::Done(Action::await_change())),
            Step::Paused => {
                self.say(machine, &decision.ready, true, None).await?;
                Ok(Next::Done(Action::await_change()))
            }
            Step::Hold => {
                let mut held = machine.clone();
                held.metadata.finalizers = Some(with_finalizer(&machine.metadata));
                let mut change = json!({ "metadata": { "finalizers": held.metadata.finalizers } });
                // One request for both where it goes on at once.
                let is_free = !is_held_by_another(machine, &self.shared.program, &self.now);
                if is_free && decide(&known.view(&held, &own)).step == Step::Allocate {
                    change["metadata"]["annotations"] = self.lease();
                }
                Ok(Next::Again(Box::new(self.patch(machine, change).await?)))
            }
            Step::Allocate => self.allocate(machine, &known).await,
            Step::Claim => self.claim(machine, &known).await,
            Step::Adopt(binding) => {
                Ok(Next::Again(Box::new(self.adopt(machine, &binding.name_any()).await?)))
            }
            Step::Provide(binding) => {
                let node = self.provide(machine, &known, binding, &decision.ready).await?;
                // Nobody tells of a node that joins.
                let after = match node {
                    Some(node) if node.severity.is_some() => UNTIL_NODE,
                    Some(_) | None => WHEN_PROVIDED,
                };
                Ok(Next::Done(Action::requeue(after)))
            }
            Step::Release(_) => {
                self.say(machine, &decision.ready, false, None).await?;
                self.release(machine).await?;
                Ok(Next::Done(look_again))
            }
            Step::LetGo => Ok(Next::Done(self.let_go(machine).await?)),
            Step::Wait => {
                self.say(machine, &decision.ready, false, None).await?;
                Ok(Next::Done(look_again))
            }
        }
    }

    /// Merges a change into the object, if it is the one that was read.
    async fn patch(&self, machine: &MetalMachine, change: Value) -> Result<MetalMachine, Error> {
        let (namespace, name) = place_of(&machine.metadata);
        let machines = self.shared.machines(&namespace);
        let patched = patch::merge(&machines, machine, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", format!("MetalMachine {namespace}/{name}")))?;
        self.shared.written.note(key(&patched), &patched.metadata);
        Ok(patched)
    }

    /// Says that it waits for a Server.
    async fn say_waits(&self, machine: &MetalMachine, ready: &Verdict) -> Result<Next, Error> {
        self.shared.wait_for_server(&machine.metadata);
        self.say(machine, ready, false, None).await?;
        Ok(Next::Done(Action::requeue(self.shared.frame.resync())))
    }
}

fn with_finalizer(meta: &ObjectMeta) -> Vec<String> {
    let others = meta.finalizers.iter().flatten().filter(|name| *name != FINALIZER).cloned();
    others.chain([FINALIZER.to_owned()]).collect()
}
