//! The metadata controller: makes the configuration of each bound machine, keeps it in a Secret that the binding owns, and
//! says on the binding whether the machine can use it. The Server controller switches no machine on before that.
//!
//! A reconcile is gather → plan → render → write → status. Nothing is made anew whose sources are those of what is there:
//! at rest nothing is asked and nothing written. The pure parts are `bloomery_api::metadata`'s.
//! Never shows a configuration in a log or an event.

mod gather;
mod grant;
mod keep;
pub mod render;
mod watches;

pub use grant::keep as keep_grant;
pub use watches::Watches;
use watches::repatched;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::contract::Machine;
use bloomery_api::metadata::rendered::Rendered;
use bloomery_api::metadata::sources::class_name;
use bloomery_api::plane::fence::is_moving;
use bloomery_api::readiness::{Trouble, conditions};
use bloomery_api::{MetalMachine, Server, ServerBinding, ServerClass};
use bloomery_config::SideroOptions;
use bloomery_plane::Gate;
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::{Cache, Feed};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::infrastructure;
use crate::reconcile::{Error, Frame, readable};
use crate::table::{Definition, key};
use crate::watch::{Bindings, GuardedBinding, GuardedServer, SecretMeta, Servers};
use crate::written::{UNTIL_SHOWN, Written};
use gather::{Gathered, SideroLink};

/// Each reconcile asks Talos's library, which answers one question at a time. Secrets without the label of a cluster are not
/// watched: they are looked at again.
pub const CONFIGURATIONS: Definition = Definition {
    name: "configurations",
    kind: "MachineConfiguration",
    workers: 8,
    resync: Duration::from_mins(5),
};

/// Why nothing is reconciled at start.
const NOT_LISTED: &str = "the lists of Servers, classes, MetalMachines, Machines and Secrets";
/// When to look again while those are not complete.
const UNTIL_LISTED: Duration = Duration::from_millis(500);
/// When to look again while the network of the plane is not known.
const UNTIL_LINKED: Duration = Duration::from_secs(5);
/// When to look again for bootstrap data that is not watched.
const UNTIL_FED: Duration = Duration::from_secs(20);
/// Action of the events.
const RENDER: &str = "RenderConfiguration";
/// Reason of the event that a machine can use its configuration again.
const READY: &str = "ConfigurationReady";

/// What this controller works from.
pub struct Inputs<'a> {
    pub gate: Gate,
    pub sidero: &'a SideroOptions,
    pub servers: &'a mut Feed<GuardedServer>,
    pub bindings: &'a mut Feed<GuardedBinding>,
    pub classes: &'a mut Feed<DeserializeGuard<ServerClass>>,
    pub provider: &'a mut infrastructure::Watches,
}

/// What the reconciles share.
struct Shared {
    frame: Frame,
    gate: Gate,
    link: SideroLink,
    servers: Servers,
    bindings: Bindings,
    classes: Cache<DeserializeGuard<ServerClass>>,
    metal_machines: Cache<DeserializeGuard<MetalMachine>>,
    machines: Cache<DeserializeGuard<Machine>>,
    data: Cache<SecretMeta>,
    rendered: Cache<SecretMeta>,
    known: Mutex<HashMap<String, Known>>,
    written: Written,
}

/// What is known of the configuration of a Server.
#[derive(Clone)]
struct Known {
    /// Digest of what it was made from.
    sources: String,
    trouble: Option<Trouble>,
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    frame: Frame,
    inputs: Inputs<'_>,
    watches: &mut Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let Inputs { gate, sidero, servers, bindings, classes, provider } = inputs;
    let changes = bindings.subscribe().filter_map(async |change| change.applied());
    let of_server =
        repatched(servers, |server: &Server| (&server.spec.config_patches, &server.spec.strategic_patches));
    let of_class =
        repatched(classes, |class: &ServerClass| (&class.spec.config_patches, &class.spec.strategic_patches));
    let of_metal = provider.metal_machines.feed.subscribe().filter_map(async |change| change.touched());
    let of_machine = provider.machines.feed.subscribe().filter_map(async |change| change.touched());
    let of_data = watches.data.feed.subscribe().filter_map(async |change| change.touched());
    let of_rendered = watches.rendered.feed.subscribe().filter_map(async |change| change.touched());
    let shared = Arc::new(Shared {
        link: SideroLink::new(frame.client.clone(), sidero),
        frame,
        gate,
        servers: servers.cache(),
        bindings: bindings.cache(),
        classes: classes.cache(),
        metal_machines: provider.metal_machines.feed.cache(),
        machines: provider.machines.feed.cache(),
        data: watches.data.feed.cache(),
        rendered: watches.rendered.feed.cache(),
        known: Mutex::default(),
        written: Written::default(),
    });
    let (classed, owned, fed) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
    Controller::for_shared_stream(changes, shared.bindings.store())
        .with_config(shared.frame.config())
        .reconcile_on(of_server.map(|name| ObjectRef::new(&name)))
        .reconcile_on(of_class.flat_map(move |name| futures::stream::iter(classed.of_class(&name))))
        .watches_shared_stream(of_metal, |machine| server_of(machine.0.as_ref().ok()?))
        .watches_shared_stream(of_machine, move |machine| owned.of_machine(&machine))
        .watches_shared_stream(of_data, move |secret| fed.of_data(&secret))
        .watches_shared_stream(of_rendered, |secret| {
            let server = bloomery_api::metadata::rendered::server_of(secret.meta().name.as_deref()?)?;
            Some(ObjectRef::new(server))
        })
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |binding, shared| Box::pin(called(&binding, &shared)).await,
            |binding, error, shared| shared.frame.after_failure(&key(binding.as_ref()), error),
            shared,
        )
        .map(drop)
}

/// The binding of a MetalMachine that has a Server.
fn server_of(machine: &MetalMachine) -> Option<ObjectRef<GuardedBinding>> {
    machine.server_name().map(ObjectRef::new)
}

async fn called(cached: &Arc<GuardedBinding>, shared: &Shared) -> Result<Action, Error> {
    let object = key(cached.as_ref());
    let authority = shared.gate.current().await;
    if !authority.acts() {
        return Ok(shared.frame.wait_to_act());
    }
    if !shared.is_listed() {
        return Ok(shared.frame.wait(NOT_LISTED, UNTIL_LISTED));
    }
    let is_leaving = cached.meta().deletion_timestamp.is_some() || is_moving(cached.meta());
    if is_leaving {
        shared.known.lock().remove(&cached.name_any());
        return Ok(Action::await_change());
    }
    if shared.written.is_awaited(&object, cached.meta()) {
        return Ok(Action::requeue(UNTIL_SHOWN));
    }
    let work = async {
        let binding = readable(cached.as_ref().clone())?;
        Box::pin(shared.reconcile(&binding)).await
    };
    shared.frame.observe(&object, Box::pin(work)).await
}

impl Shared {
    fn is_listed(&self) -> bool {
        let Self { servers, classes, metal_machines, machines, data, rendered, .. } = self;
        let objects = servers.is_listed() && classes.is_listed() && metal_machines.is_listed();
        objects && machines.is_listed() && data.is_listed() && rendered.is_listed()
    }

    /// The bindings of Servers that were taken from this class.
    fn of_class(&self, class: &str) -> Vec<ObjectRef<GuardedBinding>> {
        let is_of = |binding: &&Arc<GuardedBinding>| {
            binding.0.as_ref().is_ok_and(|binding| class_name(binding) == Some(class))
        };
        self.bindings.known().iter().filter(is_of).map(|found| ObjectRef::new(&found.name_any())).collect()
    }

    /// The binding of the machine that a Machine owns.
    fn of_machine(&self, machine: &DeserializeGuard<Machine>) -> Option<ObjectRef<GuardedBinding>> {
        let found = machine.0.as_ref().ok()?;
        let reference = found.spec.infrastructure_ref.as_ref()?;
        let namespace = machine.namespace()?;
        let metal_machine = self.metal_machines.get(&ObjectRef::new(&reference.name).within(&namespace))?;
        server_of(metal_machine.0.as_ref().ok()?)
    }

    /// The bindings of machines whose bootstrap data this Secret is.
    fn of_data(&self, secret: &SecretMeta) -> Vec<ObjectRef<GuardedBinding>> {
        let (namespace, name) = (secret.namespace(), secret.name_any());
        let is_of = |machine: &&Arc<DeserializeGuard<Machine>>| {
            let data =
                machine.0.as_ref().ok().and_then(|found| found.spec.bootstrap.data_secret_name.as_deref());
            data == Some(name.as_str()) && machine.namespace() == namespace
        };
        self.machines.known().iter().filter(is_of).filter_map(|machine| self.of_machine(machine)).collect()
    }

    async fn reconcile(&self, binding: &ServerBinding) -> Result<Action, Error> {
        let gathered = match self.gather(binding).await? {
            Ok(gathered) => gathered,
            Err(trouble) => {
                self.say(binding, Some(&trouble)).await?;
                return Ok(Action::requeue(UNTIL_LINKED));
            }
        };
        let (name, is_watched) = (binding.name_any(), gathered.is_watched());
        let kept = self.known.lock().get(&name).filter(|known| known.sources == gathered.sources).cloned();
        let trouble = match kept {
            Some(known) if self.is_kept(binding, &gathered.sources) => known.trouble,
            Some(_) | None => {
                let sources = gathered.sources.clone();
                let trouble = Box::pin(self.rendered(binding, gathered)).await?.trouble();
                let known = Known { sources, trouble: trouble.clone() };
                self.known.lock().insert(name, known);
                trouble
            }
        };
        self.say(binding, trouble.as_ref()).await?;
        // No watch tells when a Secret without the label of a cluster comes or changes.
        let is_seen = is_watched || trouble.is_none();
        Ok(Action::requeue(if is_seen { self.frame.resync() } else { UNTIL_FED }))
    }

    /// The configuration as it is kept, made anew where its sources changed.
    async fn rendered(&self, binding: &ServerBinding, gathered: Gathered) -> Result<Rendered, Error> {
        if self.is_kept(binding, &gathered.sources)
            && let Some(rendered) = self.read(binding).await?
        {
            return Ok(rendered);
        }
        let sources = gathered.sources.clone();
        let rendered = match self.plan(binding, gathered).await? {
            Ok(plan) => render::render(&self.frame.talos, &plan).await.map_err(|source| {
                let object = format!("the configuration of Server {}", binding.name_any());
                Error::Talos { object, source: Box::new(source) }
            })?,
            Err(failure) => Rendered::failed(failure, Vec::new()),
        };
        self.write(binding, &rendered, &sources).await?;
        Ok(rendered)
    }

    /// Says on the binding what is the matter, and tells it where it changes.
    async fn say(&self, binding: &ServerBinding, trouble: Option<&Trouble>) -> Result<(), Error> {
        let now = Time(Timestamp::now());
        let conditions = conditions(binding, trouble, &now);
        let before = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if conditions == before {
            return Ok(());
        }
        let had_trouble = before.iter().any(|condition| {
            condition.type_ == bloomery_api::readiness::CONFIGURATION_READY && condition.severity == "Error"
        });
        let bindings: Api<ServerBinding> = Api::all(self.frame.urgent.clone());
        let ready = self.servers.named(&binding.name_any()).is_some();
        let change = json!({ "status": { "ready": ready, "conditions": conditions } });
        let patched =
            patch::merge(&bindings, binding, change, Part::Status, &PatchParams::default())
                .await
                .map_err(Error::api("patch status of", format!("ServerBinding {}", binding.name_any())))?;
        self.written.note(key(&patched), &patched.metadata);
        self.tell(binding, trouble, had_trouble);
        Ok(())
    }

    /// People look at the machine of their cluster, or at the Server.
    fn tell(&self, binding: &ServerBinding, trouble: Option<&Trouble>, had_trouble: bool) {
        let notice = match trouble {
            Some(trouble) if trouble.severity == bloomery_api::Severity::Error => Notice {
                warning: true,
                reason: trouble.reason,
                action: RENDER,
                message: format!("{}; the machine is not powered on until this is mended", trouble.message),
            },
            None if had_trouble => Notice {
                warning: false,
                reason: READY,
                action: RENDER,
                message: "the machine configuration is good".to_owned(),
            },
            Some(_) | None => return,
        };
        if let Some(server) = self.servers.named(&binding.name_any())
            && let Ok(server) = &server.0
        {
            self.frame.notify(server, notice.clone());
        }
        if let Some(Ok(machine)) = self.metal_machine(binding).as_ref().map(|machine| machine.0.as_ref()) {
            self.frame.notify(machine, notice);
        }
    }
}
