//! What a machine's firmware is given when it asks the network what to boot (`/ipxe`).
//!
//! Never gives the agent to a machine that is bound, or may be.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;

use super::Standing;
use super::identity::{Conflict, Identity};
use super::unknown::{Strangers, UnknownMachines, unknown};
use crate::arch::Arch;
use crate::boot_method::BootFromDiskMethod;
use crate::contents::Contents;
use crate::environment::{self, Environment};
use crate::evidence::Evidence;
use crate::exempt::ExemptDisks;
use crate::lookup::Lookup;
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::ServerBinding;
use crate::server_class::ServerClass;

/// Looks up the objects that a decision names. Implemented over caches: it must not wait.
pub trait Objects {
    /// The ServerClass of that name.
    fn class(&self, name: &str) -> Lookup<Arc<ServerClass>>;
    /// The Environment of that name.
    fn environment(&self, name: &str) -> Lookup<Arc<Environment>>;
}

/// What a boot decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct BootRequest<'a> {
    /// Which machine asks, compared with all Servers and the ledger.
    pub identity: Lookup<&'a Identity>,
    /// The Server that the machine is, by its identity.
    pub server: Lookup<&'a Server>,
    /// The ServerBinding of the same name.
    pub binding: Lookup<&'a ServerBinding>,
    /// Whether another Server may be the same machine.
    pub conflict: Option<&'a Conflict>,
    /// Whether this plane may act.
    pub authority: &'a Authority,
    /// The option `unknownMachines`.
    pub unknown: UnknownMachines,
    /// Whether the lists of machines admit it.
    pub admitted: bool,
    /// The machine's architecture.
    pub arch: Arch,
    /// The option `--boot-from-disk-method`.
    pub default_method: BootFromDiskMethod,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootAnswer {
    /// The agent, which registers the machine. It writes nothing unless told to.
    Agent {
        /// The architecture to serve.
        arch: Arch,
    },
    /// The node system of this Environment.
    Environment {
        /// Name of the Environment.
        name: String,
    },
    /// Go on with the local disk.
    BootFromDisk {
        /// How to say so.
        method: BootFromDiskMethod,
    },
    /// HTTP 404: an object that is referred to does not exist.
    NotFound,
    /// HTTP 412: the Environment's assets are not here.
    NotReady {
        /// Name of the Environment.
        name: String,
    },
    /// HTTP 500: something could not be looked up; ask again.
    Unavailable,
}

/// An answer and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDecision {
    /// What to answer.
    pub answer: BootAnswer,
    /// Why, for the log.
    pub reason: String,
}

impl BootDecision {
    fn new(answer: BootAnswer, reason: impl Into<String>) -> Self {
        Self { answer, reason: reason.into() }
    }
}

/// Decides what the machine boots.
pub fn boot(request: &BootRequest<'_>, objects: &dyn Objects) -> BootDecision {
    let unavailable =
        |what: &str| BootDecision::new(BootAnswer::Unavailable, format!("failed to look up {what}"));
    let server = match request.server {
        Lookup::Found(server) => Some(server),
        Lookup::NotFound => None,
        Lookup::Failed => return unavailable("the Server"),
    };
    let binding = match request.binding {
        Lookup::Found(binding) => Some(binding),
        Lookup::NotFound => None,
        Lookup::Failed => return unavailable("the ServerBinding"),
    };
    let identity = match request.identity {
        Lookup::Found(identity) => identity,
        Lookup::NotFound | Lookup::Failed => return unavailable("which machine it is"),
    };
    match request.authority {
        Authority::Fenced { holder } => {
            let reason = format!("this plane does not act: {holder} does");
            return BootDecision::new(BootAnswer::Unavailable, reason);
        }
        Authority::Unknown => {
            return BootDecision::new(BootAnswer::Unavailable, "failed to tell whether this plane may act");
        }
        Authority::Stopped { why } => return stopped(why, request, server, binding, objects),
        Authority::Holds { .. } => {}
    }
    // The objects were found by the identity: anything else is a machine that they are not about.
    let is_its = server.is_some_and(|server| server.metadata.name.as_deref() == identity.server());
    if server.is_some() && !is_its {
        return BootDecision::new(BootAnswer::Unavailable, "the Server is not that of the machine");
    }
    if identity.may_be_claimed() {
        return held(identity, request);
    }
    let evidence = server.map_or(Evidence::None, |server| Evidence::of(server, request.authority));
    let standing = Standing::of(server, binding, &evidence, request.conflict);
    by_standing(standing, server, binding, request, objects)
}

fn by_standing(
    standing: Standing,
    server: Option<&Server>,
    binding: Option<&ServerBinding>,
    request: &BootRequest<'_>,
    objects: &dyn Objects,
) -> BootDecision {
    match (standing, server, binding) {
        (Standing::Installed, Some(server), Some(binding)) if server.spec.pxe_boot_always => {
            environment(server, binding, objects)
        }
        (
            Standing::Installed
            | Standing::Lost
            | Standing::Unconfirmed
            | Standing::Conflicted
            | Standing::BoundWithoutServer,
            server,
            binding,
        ) => from_disk(standing, server, binding, request.default_method, objects),
        (Standing::Bound, Some(server), Some(binding)) => environment(server, binding, objects),
        (Standing::Unregistered | Standing::Discovered, server, _) => stranger(standing, server, request),
        (Standing::Dirty | Standing::Clean, _, _) => {
            BootDecision::new(BootAnswer::Agent { arch: request.arch }, standing.message())
        }
        // `Standing::of` says Bound only of a Server with a binding; nothing is given on a contradiction.
        (Standing::Bound, _, _) => {
            BootDecision::new(BootAnswer::Unavailable, "bound, but an object is missing")
        }
    }
}

/// A machine that nobody accepted.
fn stranger(standing: Standing, server: Option<&Server>, request: &BootRequest<'_>) -> BootDecision {
    let trust = request.authority.trust();
    let contents = server.and_then(|server| {
        // What a cluster gave back is wiped when it is accepted again, whatever it holds.
        let released = matches!(Evidence::of(server, request.authority), Evidence::Released(_));
        let contents = Contents::of(server.spec.hardware.as_ref(), &ExemptDisks::of_or_none(server));
        (!released).then_some(contents.class)
    });
    let any = trust.is_some_and(|trust| trust.any_contents);
    match unknown(request.unknown, contents, any, request.admitted) {
        Strangers::Agent => BootDecision::new(BootAnswer::Agent { arch: request.arch }, standing.message()),
        Strangers::Disk => BootDecision::new(
            BootAnswer::BootFromDisk { method: request.default_method },
            "not accepted: it goes on with its own disk",
        ),
        Strangers::Nothing => BootDecision::new(BootAnswer::NotFound, "not accepted, and not to be served"),
    }
}

/// A machine that may be a claimed one under another name, or that shows another's name: its disk, and nothing else.
fn held(identity: &Identity, request: &BootRequest<'_>) -> BootDecision {
    let reason = match identity {
        Identity::Other { server, why } => {
            format!("shows the UUID of Server {server} with {}", why.message())
        }
        Identity::Suspect { peers } => {
            let claimed = peers.iter().find(|peer| peer.claimed).map_or("", |peer| peer.server.as_str());
            format!("may be the machine of Server {claimed}, which is claimed")
        }
        Identity::Same { .. } | Identity::New | Identity::Unnamed => "held".to_owned(),
    };
    BootDecision::new(BootAnswer::BootFromDisk { method: request.default_method }, reason)
}

/// The plane stopped itself: nodes still get to their disks, and nobody gets anything else.
fn stopped(
    why: &str,
    request: &BootRequest<'_>,
    server: Option<&Server>,
    binding: Option<&ServerBinding>,
    objects: &dyn Objects,
) -> BootDecision {
    let evidence = server.map_or(Evidence::None, |server| Evidence::of(server, request.authority));
    let standing = Standing::of(server, binding, &evidence, request.conflict);
    match standing {
        Standing::Installed | Standing::Lost | Standing::Unconfirmed | Standing::BoundWithoutServer => {
            from_disk(standing, server, binding, request.default_method, objects)
        }
        Standing::Unregistered
        | Standing::Bound
        | Standing::Discovered
        | Standing::Dirty
        | Standing::Clean
        | Standing::Conflicted => {
            BootDecision::new(BootAnswer::Unavailable, format!("this plane stopped acting: {why}"))
        }
    }
}

/// Boot from disk by the Server's method, else its class's, else the default.
fn from_disk(
    standing: Standing,
    server: Option<&Server>,
    binding: Option<&ServerBinding>,
    default: BootFromDiskMethod,
    objects: &dyn Objects,
) -> BootDecision {
    let own = server.and_then(|server| BootFromDiskMethod::from_field(&server.spec.boot_from_disk_method));
    let method = match (own, binding.and_then(|binding| name_of(binding.spec.server_class_ref.as_ref()))) {
        (Some(own), _) => own,
        (None, None) => default,
        (None, Some(class)) => match objects.class(class) {
            Lookup::Found(class) => {
                BootFromDiskMethod::from_field(&class.spec.boot_from_disk_method).unwrap_or(default)
            }
            // A class that was deleted must not keep an installed node from its disk.
            Lookup::NotFound => default,
            Lookup::Failed => {
                let reason = format!("failed to look up ServerClass {class}");
                return BootDecision::new(BootAnswer::Unavailable, reason);
            }
        },
    };
    BootDecision::new(BootAnswer::BootFromDisk { method }, standing.message())
}

/// The Environment of the Server, else of its class, else the default one.
fn environment(server: &Server, binding: &ServerBinding, objects: &dyn Objects) -> BootDecision {
    if let Some(name) = name_of(server.spec.environment_ref.as_ref()) {
        return serve(name, "named by the Server", objects);
    }
    let Some(class) = name_of(binding.spec.server_class_ref.as_ref()) else {
        return serve(environment::DEFAULT, "bound, and nothing names another", objects);
    };
    match objects.class(class) {
        Lookup::Found(found) => match name_of(found.spec.environment_ref.as_ref()) {
            Some(name) => serve(name, &format!("named by ServerClass {class}"), objects),
            None => serve(environment::DEFAULT, "bound, and nothing names another", objects),
        },
        Lookup::NotFound => {
            BootDecision::new(BootAnswer::NotFound, format!("ServerClass {class} does not exist"))
        }
        Lookup::Failed => {
            BootDecision::new(BootAnswer::Unavailable, format!("failed to look up ServerClass {class}"))
        }
    }
}

fn serve(name: &str, why: &str, objects: &dyn Objects) -> BootDecision {
    match objects.environment(name) {
        Lookup::Found(found) if found.is_ready() => {
            BootDecision::new(BootAnswer::Environment { name: name.to_owned() }, why)
        }
        Lookup::Found(_) => BootDecision::new(
            BootAnswer::NotReady { name: name.to_owned() },
            format!("environment \"{name}\" is not ready"),
        ),
        Lookup::NotFound => {
            BootDecision::new(BootAnswer::NotFound, format!("Environment {name} does not exist ({why})"))
        }
        Lookup::Failed => {
            BootDecision::new(BootAnswer::Unavailable, format!("failed to look up Environment {name}"))
        }
    }
}

/// The name in a reference, if there is one. A namespace on a cluster-scoped object means nothing.
fn name_of(reference: Option<&ObjectReference>) -> Option<&str> {
    reference.and_then(|reference| reference.name.as_deref()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
