//! Binds a Server to a MetalMachine. The create of the ServerBinding is the lock: whoever comes second is refused. After it
//! the Server is read once more, and the binding is undone if another had the Server since it was read before.

use bloomery_api::infrastructure::allocation::{Place, Shortage, candidates};
use bloomery_api::infrastructure::lease::{ALLOCATING_ANNOTATION, is_held_by_another, lease};
use bloomery_api::infrastructure::machine;
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::infrastructure::verify::{is_free_for, verify};
use bloomery_api::metal_machine::provider_id;
use bloomery_api::server_binding::RELEASE_FINALIZER;
use bloomery_api::server_class::matching::Membership;
use bloomery_api::{MetalMachine, Server, ServerBinding, ServerBindingSpec, ServerClass};
use bloomery_platform::chain;
use bloomery_platform::events::Notice;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::view::Known;
use super::{Next, Scene, place_of};
use crate::infrastructure::inventory::Taken;
use crate::reconcile::{self, Error, readable};

/// Servers tried in one reconcile: more lost races in a row mean that the caches are late.
const MOST_TRIED: usize = 16;
/// Until it is looked whether another program that looks for a Server has found one.
const WHILE_ANOTHER_LOOKS: std::time::Duration = std::time::Duration::from_secs(3);

/// A class that Servers are taken from.
struct Wanted<'a> {
    class: &'a ServerClass,
    members: Membership<'a>,
    place: Place<'a>,
}

impl Wanted<'_> {
    fn admits(&self, server: &Server) -> bool {
        self.members.admits(server) && self.place.admits(server)
    }
}

impl Scene<'_> {
    /// Takes a free Server of the machine's class.
    pub(super) async fn allocate(&self, machine: &MetalMachine, known: &Known) -> Result<Next, Error> {
        let shared = self.shared;
        let reference = machine.spec.server_class_ref.as_ref();
        let name = reference.and_then(|class| class.name.as_deref()).unwrap_or_default();
        let Some(class) = shared.classes.named(name) else {
            let message = format!("ServerClass {name} does not exist");
            return self.say_waits(machine, &Verdict::warns("ClassMissing", message)).await;
        };
        let class = readable(class.as_ref().clone())?;
        let members = match Membership::of(&class) {
            Ok(members) => members,
            Err(error) => {
                return self.say_waits(machine, &Verdict::fails("ClassInvalid", chain(&error))).await;
            }
        };
        let domain = known.owner.as_ref().map_or("", |owner| &owner.spec.failure_domain);
        let wanted = Wanted { class: &class, members, place: Place { domain, label: known.domain_label() } };
        let tried = self.choose(machine, &wanted);
        if tried.is_empty() {
            return self.say_waits(machine, &self.shortage(&wanted)).await;
        }
        if is_held_by_another(machine, &shared.program, &self.now) {
            return Ok(Next::Done(Action::requeue(WHILE_ANOTHER_LOOKS)));
        }
        let machine = if self.has_lease(machine) {
            machine.clone()
        } else {
            self.patch(machine, json!({ "metadata": { "annotations": self.lease() } })).await?
        };
        for server in tried {
            if let Some(bound) = self.try_bind(&machine, &server, Some(&wanted)).await? {
                return self.settle(machine, &bound).await;
            }
        }
        self.say_waits(&machine, &self.shortage(&wanted)).await
    }

    /// The annotation by which this program alone looks for a Server.
    pub(super) fn lease(&self) -> Value {
        json!({ ALLOCATING_ANNOTATION: lease(&self.shared.program, &self.now) })
    }

    /// Whether this very reconcile wrote it already.
    fn has_lease(&self, machine: &MetalMachine) -> bool {
        let written = machine.annotations().get(ALLOCATING_ANNOTATION);
        written == Some(&lease(&self.shared.program, &self.now))
    }

    /// Names of the Servers to try, in their order.
    fn choose(&self, machine: &MetalMachine, wanted: &Wanted<'_>) -> Vec<String> {
        let shared = self.shared;
        let free: Vec<String> = shared.inventory.with(|index| index.free().map(str::to_owned).collect());
        let free: Vec<_> = free.iter().filter_map(|name| shared.servers.named(name)).collect();
        let readable = free.iter().filter_map(|server| server.0.as_ref().ok());
        let (namespace, name) = place_of(&machine.metadata);
        let tried = candidates(readable, &wanted.members, wanted.place, (&namespace, &name));
        let tried = tried.into_iter().filter(|server| self.is_free(server, machine));
        tried.take(MOST_TRIED).map(ResourceExt::name_any).collect()
    }

    /// Binds the Server that the machine names.
    pub(super) async fn claim(&self, machine: &MetalMachine, known: &Known) -> Result<Next, Error> {
        let Some((server, _)) = &known.server else {
            return Ok(Next::Done(Action::requeue(self.shared.frame.resync())));
        };
        let Some(bound) = self.try_bind(machine, &server.name_any(), None).await? else {
            let message = format!("Server {} was not free when it was looked at again", server.name_any());
            self.say(machine, &Verdict::warns("ServerNotFree", message), false, None).await?;
            return Ok(Next::Done(Action::requeue(self.shared.frame.resync())));
        };
        // The machine may be on its way out, which the cache does not show.
        self.settle(machine.clone(), &bound).await
    }

    fn is_free(&self, server: &Server, machine: &MetalMachine) -> bool {
        is_free_for(server, self.standing(server), &machine::claimant(machine))
    }

    fn shortage(&self, wanted: &Wanted<'_>) -> Verdict {
        let all = self.shared.servers.known();
        let servers = all.iter().filter_map(|server| server.0.as_ref().ok());
        let is_taken = |name: &str| self.shared.inventory.with(|index| index.is_taken(name));
        let shortage = Shortage::of(servers, &wanted.members, wanted.place, is_taken);
        Verdict::waits("WaitingForServer", shortage.message(&wanted.class.name_any(), wanted.place))
    }

    /// Binds one Server; `None` if it is not to be had.
    async fn try_bind(
        &self,
        machine: &MetalMachine,
        name: &str,
        wanted: Option<&Wanted<'_>>,
    ) -> Result<Option<ServerBinding>, Error> {
        let Some(taken) = Taken::take(&self.shared.inventory, name) else { return Ok(None) };
        // The cache may be late: then the look after the binding finds another record than this one, and undoes it.
        let Some(before) = self.shared.servers.named(name) else { return Ok(None) };
        let before = readable(before.as_ref().clone())?;
        if !is_admitted(wanted, &before) || !self.is_free(&before, machine) {
            return Ok(None);
        }
        let bindings: Api<ServerBinding> = Api::all(self.shared.frame.claims.clone());
        let class = wanted.map(|wanted| wanted.class);
        let claim = binding(machine, name, class);
        let made = match bindings.create(&PostParams::default(), &claim).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(None),
            Err(error) => return Err(Error::api("create", format!("ServerBinding {name}"))(error)),
        };
        taken.keep();
        let servers = Api::all(self.shared.frame.claims.clone());
        let after = reconcile::read::<Server>(&servers, name).await;
        let problem = match &after {
            Ok(after) => verify(&before, after.as_ref(), &made, self.authority).err(),
            Err(_) => Some("the Server cannot be read"),
        };
        let is_member = matches!(&after, Ok(Some(after)) if is_admitted(wanted, after));
        let problem = problem.or((!is_member).then_some("the Server is no member of the class any more"));
        let Some(problem) = problem else {
            self.announce(&before, machine, class);
            return Ok(Some(made));
        };
        self.undo(&made, problem).await?;
        Ok(None)
    }

    /// Writes that the machine has the Server; a binding that came second is undone.
    async fn settle(&self, machine: MetalMachine, bound: &ServerBinding) -> Result<Next, Error> {
        let server = bound.name_any();
        let adopted = self.adopt(&machine, &server).await;
        let next = |machine| Ok(Next::Bound(Box::new(machine), Box::new(bound.clone())));
        let error = match adopted {
            Ok(machine) => return next(machine),
            Err(error) => error,
        };
        // What it is now decides: the object changed, or nobody knows whether it was written.
        let (namespace, name) = place_of(&machine.metadata);
        let fresh = reconcile::read::<MetalMachine>(
            &Api::namespaced(self.shared.frame.claims.clone(), &namespace),
            &name,
        )
        .await?;
        let problem = match &fresh {
            None => Some("its MetalMachine is gone"),
            Some(fresh) if fresh.metadata.uid != machine.metadata.uid => Some("its MetalMachine is another"),
            Some(fresh) if fresh.metadata.deletion_timestamp.is_some() => {
                Some("its MetalMachine is being deleted")
            }
            Some(fresh) if fresh.server_name().is_some_and(|named| named != server) => {
                Some("its MetalMachine has another Server")
            }
            Some(_) => None,
        };
        match (problem, fresh) {
            (Some(problem), _) => self.undo(bound, problem).await?,
            (None, Some(fresh)) => return next(fresh),
            (None, None) => {}
        }
        Err(error)
    }

    /// Writes into the spec that the machine has this Server.
    pub(super) async fn adopt(&self, machine: &MetalMachine, server: &str) -> Result<MetalMachine, Error> {
        let change = json!({
            "metadata": { "annotations": { ALLOCATING_ANNOTATION: null } },
            "spec": {
                "serverRef": { "apiVersion": Server::api_version(&()), "kind": "Server", "name": server },
                "providerID": provider_id(server),
            },
        });
        self.patch(machine, change).await
    }

    /// Deletes a binding that was made a moment ago, and no other of its name.
    async fn undo(&self, binding: &ServerBinding, problem: &str) -> Result<(), Error> {
        let name = binding.name_any();
        warn!(server = name, problem, "binding undone");
        let bindings: Api<ServerBinding> = Api::all(self.shared.frame.claims.clone());
        match bindings.delete(&name, &only(binding)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(Error::api("delete", format!("ServerBinding {name}"))(error)),
        }
    }

    fn announce(&self, server: &Server, machine: &MetalMachine, class: Option<&ServerClass>) {
        let name = machine.name_any();
        let (reason, message) = match class {
            Some(class) => (
                "Server Allocation",
                format!(
                    "Server is allocated via serverclass {:?} for metal machine {name:?}.",
                    class.name_any()
                ),
            ),
            None => {
                ("Server Assignment", format!("Server as assigned via serverRef for metal machine {name:?}."))
            }
        };
        info!(server = server.name_any(), machine = name, "server bound");
        let notice = Notice { warning: false, reason, action: "Allocate", message };
        self.shared.frame.notify(server, notice);
    }
}

/// Deletes this very object.
pub(super) fn only(binding: &ServerBinding) -> DeleteParams {
    let preconditions = Preconditions { uid: binding.metadata.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

fn is_admitted(wanted: Option<&Wanted<'_>>, server: &Server) -> bool {
    wanted.is_none_or(|wanted| wanted.admits(server))
}

/// The binding, with the machine's labels, so that it is found by its Cluster, and with the finalizer that every binding gets:
/// the Server's controller does not have to write it.
fn binding(machine: &MetalMachine, server: &str, class: Option<&ServerClass>) -> ServerBinding {
    let class = class.map(|class| ObjectReference {
        resource_version: class.metadata.resource_version.clone(),
        ..reference_to(class, ServerClass::api_version(&()).into_owned(), "ServerClass")
    });
    let machine_reference =
        reference_to(machine, MetalMachine::api_version(&()).into_owned(), "MetalMachine");
    let spec = ServerBindingSpec {
        server_class_ref: class,
        metal_machine_ref: machine_reference,
        ..ServerBindingSpec::default()
    };
    let mut binding = ServerBinding::new(server, spec);
    binding.metadata = ObjectMeta {
        labels: machine.metadata.labels.clone(),
        finalizers: Some(vec![RELEASE_FINALIZER.to_owned()]),
        ..binding.metadata
    };
    binding
}

fn reference_to<K: Resource<DynamicType = ()>>(
    object: &K,
    api_version: String,
    kind: &str,
) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(kind.to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectReference::default()
    }
}
