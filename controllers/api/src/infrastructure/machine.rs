//! What comes next for a MetalMachine: one function of everything that is known of it.
//!
//! ```text
//! Hold ──▶ Allocate or Claim ──▶ Adopt ──▶ Provide        deleted: Release ──▶ (wait) ──▶ LetGo
//! ```
//!
//! Never lets a Server go while the Cluster is paused or an object is being moved. Never keeps a deletion waiting for an
//! owner that is not there. Never lets a Server go that another MetalMachine has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::verdict::Verdict;
use super::verify::is_free_for;
use crate::condition::{self, Condition, ConditionStatus, Severity};
use crate::contract::{Cluster, Machine, refers_to};
use crate::decision::Standing;
use crate::metal_machine::{FINALIZER, MetalMachine};
use crate::plane::fence::is_moving;
use crate::readiness::{CONFIGURATION_READY, is_said_beforehand};
use crate::server::Server;
use crate::server_binding::{ServerBinding, TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED};

/// Conditions of a binding that are the machine's too; the first that fails tells why the machine is not ready.
pub const COPIED: [&str; 4] =
    [CONFIGURATION_READY, TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED];

/// Everything that is known of a MetalMachine.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The MetalMachine.
    pub machine: &'a MetalMachine,
    /// The Machine that owns it.
    pub owner: Option<&'a Machine>,
    /// The Cluster that it belongs to.
    pub cluster: Option<&'a Cluster>,
    /// Whether it or its Cluster is paused.
    pub is_paused: bool,
    /// All bindings that name it, the oldest first.
    pub own: &'a [&'a ServerBinding],
    /// The binding of the Server that its spec names, whoever has it.
    pub at_reference: Option<&'a ServerBinding>,
    /// The Server that its spec names, and where it stands without a binding.
    pub server: Option<(&'a Server, Standing)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// Nothing at all: not even the status is written of an object that is being moved.
    HandsOff,
    /// Nothing but to say so.
    Paused,
    /// Add the finalizer.
    Hold,
    /// Take a Server of the class.
    Allocate,
    /// Bind the Server that the spec names.
    Claim,
    /// Write into the spec that it has the Server of this binding.
    Adopt(&'a ServerBinding),
    /// Write provider ID and status by this binding.
    Provide(&'a ServerBinding),
    /// Delete these bindings.
    Release(Vec<&'a ServerBinding>),
    /// Take the finalizer off, once no binding names it.
    LetGo,
    /// Nothing until something changes.
    Wait,
}

/// What to do, and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<'a> {
    /// What to do.
    pub step: Step<'a>,
    /// The condition `Ready`.
    pub ready: Verdict,
}

/// Decides.
pub fn decide<'a>(view: &View<'a>) -> Decision<'a> {
    let View { machine, is_paused, own, .. } = *view;
    if is_being_moved(view) {
        return Decision {
            step: Step::HandsOff,
            ready: Verdict::waits("Moving", "taken to another cluster"),
        };
    }
    if is_paused {
        return Decision {
            step: Step::Paused,
            ready: Verdict::waits("Paused", "nothing is done while paused"),
        };
    }
    let has_finalizer = machine.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if machine.metadata.deletion_timestamp.is_some() {
        return if has_finalizer { deleted(own) } else { wait(deleting("waits for other finalizers")) };
    }
    if !has_finalizer {
        return Decision { step: Step::Hold, ready: Verdict::waits("Starting", "not looked at yet") };
    }
    match machine.server_name() {
        Some(server) => referring(view, server),
        None => unreferring(view),
    }
}

fn wait(ready: Verdict) -> Decision<'static> {
    Decision { step: Step::Wait, ready }
}

fn deleting(message: &str) -> Verdict {
    Verdict::waits("Deleting", message)
}

/// Any object of it that is marked stands for all: they are deleted one by one.
fn is_being_moved(view: &View<'_>) -> bool {
    let View { machine, owner, cluster, is_paused: _, own, at_reference: _, server: _ } = *view;
    let metas: [Option<&ObjectMeta>; 3] = [
        Some(&machine.metadata),
        owner.map(|owner| &owner.metadata),
        cluster.map(|cluster| &cluster.metadata),
    ];
    metas.into_iter().flatten().any(is_moving) || own.iter().any(|binding| is_moving(&binding.metadata))
}

fn is_leaving(binding: &ServerBinding) -> bool {
    binding.metadata.deletion_timestamp.is_some()
}

/// Whether a binding is for this MetalMachine. The uid does not count: a move gives it another.
pub fn is_for(binding: &ServerBinding, machine: &MetalMachine) -> bool {
    let namespace = machine.metadata.namespace.as_deref().unwrap_or_default();
    let name = machine.metadata.name.as_deref().unwrap_or_default();
    refers_to(&binding.spec.metal_machine_ref, namespace, name)
}

fn deleted<'a>(own: &[&'a ServerBinding]) -> Decision<'a> {
    let held: Vec<_> = own.iter().copied().filter(|binding| !is_leaving(binding)).collect();
    if !held.is_empty() {
        return Decision { step: Step::Release(held), ready: deleting("the Server is let go") };
    }
    if own.is_empty() {
        return Decision { step: Step::LetGo, ready: deleting("the Server was let go") };
    }
    wait(deleting("the Server is let go: its ServerBinding waits until that is on record"))
}

/// It names a Server.
fn referring<'a>(view: &View<'a>, server: &str) -> Decision<'a> {
    let View { machine, own, at_reference, .. } = *view;
    match at_reference {
        Some(binding) if !is_for(binding, machine) => {
            let other = &binding.spec.metal_machine_ref;
            let (namespace, name) =
                (other.namespace.as_deref().unwrap_or_default(), other.name.as_deref().unwrap_or_default());
            wait(Verdict::fails(
                "ServerTaken",
                format!("MetalMachine {namespace}/{name} has Server {server}"),
            ))
        }
        Some(binding) if is_leaving(binding) => wait(Verdict::warns(
            "ServerReleased",
            format!("the ServerBinding of Server {server} is being deleted"),
        )),
        Some(binding) => match surplus(view, server) {
            Surplus::None => Decision { step: Step::Provide(binding), ready: provided(binding) },
            Surplus::Unused(unused) => Decision { step: Step::Release(unused), ready: provided(binding) },
            Surplus::Used(name) => wait(Verdict::fails(
                "SeveralServers",
                format!(
                    "spec.serverRef names Server {server}, but a node of this machine runs on {name}, too"
                ),
            )),
        },
        None => match own {
            [] => claim(view, server),
            [binding, ..] => wait(Verdict::fails(
                "SeveralServers",
                format!(
                    "spec.serverRef names Server {server}, but the machine has {}: set spec.serverRef back",
                    name_of(binding)
                ),
            )),
        },
    }
}

enum Surplus<'a> {
    None,
    /// Bindings that lost a race and that no node used.
    Unused(Vec<&'a ServerBinding>),
    /// A node uses this one.
    Used(String),
}

/// Its bindings besides the one of the Server that it names. Of two programs that allocate at once one finds its binding
/// to be the second.
fn surplus<'a>(view: &View<'a>, server: &str) -> Surplus<'a> {
    let others =
        view.own.iter().copied().filter(|binding| name_of(binding) != server && !is_leaving(binding));
    let (unused, used): (Vec<_>, Vec<_>) = others.partition(|binding| is_unused(binding, view.machine));
    match used.first() {
        Some(binding) => Surplus::Used(name_of(binding).to_owned()),
        None if unused.is_empty() => Surplus::None,
        None => Surplus::Unused(unused),
    }
}

/// True when no node has said a word, and the binding was made for this very object.
fn is_unused(binding: &ServerBinding, machine: &MetalMachine) -> bool {
    let spec = &binding.spec;
    let conditions = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
    machine.metadata.uid.is_some()
        && spec.metal_machine_ref.uid == machine.metadata.uid
        && spec.siderolink.is_none()
        && spec.addresses.is_empty()
        && spec.hostname.is_empty()
        && conditions.iter().all(|condition| is_of_plane(binding, condition))
}

/// Whether the plane said it of the configuration, and not the node of itself.
fn is_of_plane(binding: &ServerBinding, condition: &Condition) -> bool {
    condition.type_ == CONFIGURATION_READY
        || (condition.type_ == TALOS_CONFIG_LOADED && is_said_beforehand(binding))
}

fn name_of(binding: &ServerBinding) -> &str {
    binding.metadata.name.as_deref().unwrap_or_default()
}

/// It names a Server that has no binding, and it has none.
fn claim<'a>(view: &View<'a>, server: &str) -> Decision<'a> {
    if let Some(gate) = gate(view) {
        return wait(gate);
    }
    let Some((found, standing)) = view.server else {
        return wait(Verdict::warns("ServerMissing", format!("Server {server} does not exist")));
    };
    let claimant = claimant(view.machine);
    if is_free_for(found, standing, &claimant) {
        let message = format!("binds Server {server}");
        return Decision { step: Step::Claim, ready: Verdict::waits("Binding", message) };
    }
    wait(Verdict::warns(
        "ServerNotFree",
        format!("Server {server} cannot be bound ({}): {}", standing.reason(), standing.message()),
    ))
}

/// `namespace/name`, as the record of a claim has it.
pub fn claimant(machine: &MetalMachine) -> String {
    let meta = &machine.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// It names no Server.
fn unreferring<'a>(view: &View<'a>) -> Decision<'a> {
    let View { machine, own, .. } = *view;
    if let Some(binding) = own.iter().copied().find(|binding| !is_leaving(binding)) {
        let message = format!("has Server {}", name_of(binding));
        return Decision { step: Step::Adopt(binding), ready: Verdict::waits("Binding", message) };
    }
    if let Some(binding) = own.first() {
        let message = format!("the ServerBinding of Server {} is being deleted", name_of(binding));
        return wait(Verdict::warns("ServerReleased", message));
    }
    let class = machine.spec.server_class_ref.as_ref().and_then(|class| class.name.as_deref());
    if class.is_none_or(str::is_empty) {
        let message = "either a server or serverclass ref must be supplied";
        return wait(Verdict::fails("NoServerReference", message));
    }
    match gate(view) {
        Some(gate) => wait(gate),
        None => Decision {
            step: Step::Allocate,
            ready: Verdict::waits("WaitingForServer", "no Server was allocated yet"),
        },
    }
}

/// What must be there before a Server is taken, in the order in which Cluster API makes it.
fn gate(view: &View<'_>) -> Option<Verdict> {
    let Some(owner) = view.owner else {
        return Some(Verdict::waits("WaitingForMachine", "no Machine of Cluster API owns this object yet"));
    };
    if owner.metadata.deletion_timestamp.is_some() {
        return Some(Verdict::waits("MachineDeleted", "the Machine that owns this object is being deleted"));
    }
    let Some(cluster) = view.cluster else {
        let message = "no cluster label or cluster does not exist";
        return Some(Verdict::waits("WaitingForCluster", message));
    };
    if !cluster.has_infrastructure() {
        let message = "the infrastructure of the Cluster is not ready yet";
        return Some(Verdict::waits("WaitingForClusterInfrastructure", message));
    }
    if owner.spec.bootstrap.data_secret_name.as_deref().is_none_or(str::is_empty) {
        let message = "the machine configuration was not made yet";
        return Some(Verdict::waits("WaitingForBootstrapData", message));
    }
    None
}

/// A machine with a Server is ready, unless its node cannot do with its configuration.
fn provided(binding: &ServerBinding) -> Verdict {
    let conditions = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let mut copied = COPIED.into_iter().filter_map(|type_| condition::find(conditions, type_));
    let failed = copied.find(|condition| {
        condition.status == ConditionStatus::False && condition.severity == Severity::Error.as_str()
    });
    match failed {
        Some(condition) => {
            let reason = if condition.reason.is_empty() { &condition.type_ } else { &condition.reason };
            Verdict::fails(reason, condition.message.clone())
        }
        None => Verdict::holds("Provisioned"),
    }
}

#[cfg(test)]
mod tests;
