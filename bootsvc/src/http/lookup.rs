//! The objects behind a boot decision: the binding is read from the Kubernetes API at the moment of asking, the
//! others come from the caches.
//!
//! That a bound machine is never given the agent is a promise about now (S2 of the design), so no cache can keep it. "Not
//! found" is believed only when the API says that this very object does not exist; every other failure is "nobody could
//! tell". The Server of a bound machine is read too: a node that was installed a moment ago is not installed again.

use std::sync::Arc;

use bloomery_api::arch::Arch;
use bloomery_api::boot_method::BootFromDiskMethod;
use bloomery_api::decision::boot::{self, BootAnswer, BootDecision, BootRequest, Objects};
use bloomery_api::decision::identity::{Conflict, Identity, Marks};
use bloomery_api::environment::names_for;
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::Authority;
use bloomery_api::{Environment, Server, ServerBinding, ServerClass};
use kube::Client;

use super::hand_out::{self, Withheld};
use super::query::Query;
use crate::kubernetes::get;
use crate::neighbours::Seen;
use crate::services::{self, Services};

/// Times the objects are read again because the Server turned out to be another than the list of all Servers says.
const MAX_LOOKS: usize = 3;

#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// What it is answered from.
    pub services: &'a Services,
    pub authority: &'a Authority,
    pub query: &'a Query,
    pub seen: &'a Seen,
    /// Whether the lists of machines admit it.
    pub admitted: bool,
}

/// A decision and the objects that its answer is written from.
#[derive(Debug)]
pub struct Decided {
    pub decision: BootDecision,
    pub identity: Option<Identity>,
    /// The Environment, for its kernel arguments.
    pub environment: Option<Arc<Environment>>,
    /// The machine's Server, if it has one.
    pub server: Option<Arc<Server>>,
    /// Its binding, if it has one.
    pub binding: Option<ServerBinding>,
}

/// The machine as it is on record.
struct Looked {
    identity: Lookup<Identity>,
    server: Lookup<Arc<Server>>,
    binding: Lookup<ServerBinding>,
    conflict: Option<Conflict>,
}

impl Looked {
    const FAILED: Self =
        Self { identity: Lookup::Failed, server: Lookup::Failed, binding: Lookup::Failed, conflict: None };
}

/// Finds out which machine asks, and its objects. Of a bound machine what the list of all Servers says counts only if the
/// Server, read now, says the same.
async fn look(asking: &Asking<'_>) -> Looked {
    let Some(client) = asking.services.kubernetes.client() else { return Looked::FAILED };
    let Query { uuid, mac, serial, .. } = asking.query;
    let marks = Marks::of_query(uuid.as_deref(), mac.as_deref(), Some(serial.as_str()));
    let compare = || asking.services.objects.servers.identify(&marks, asking.authority).ok();
    for _ in 0..MAX_LOOKS {
        let Some(identity) = compare() else { return Looked::FAILED };
        let name = match &identity {
            Identity::Same { server, by: _ } => Some(server.as_str()),
            Identity::New | Identity::Suspect { .. } => marks.uuids.first().map(String::as_str),
            // The objects of that name are another machine's.
            Identity::Other { .. } | Identity::Unnamed => None,
        };
        let (server, binding) = match name {
            Some(name) => objects(asking, &client, name).await,
            None => (Lookup::NotFound, Lookup::NotFound),
        };
        let conflict = match (&identity, &server) {
            (_, Lookup::Found(server)) => {
                match asking.services.objects.servers.conflict(server, asking.authority) {
                    Ok(conflict) => conflict,
                    Err(_) => return Looked::FAILED,
                }
            }
            // It went a moment ago: what that means is known when the list says so too.
            (Identity::Same { .. }, Lookup::NotFound) => {
                return Looked { identity: Lookup::Found(identity), ..Looked::FAILED };
            }
            (_, Lookup::NotFound | Lookup::Failed) => None,
        };
        if compare().as_ref() == Some(&identity) {
            return Looked { identity: Lookup::Found(identity), server, binding, conflict };
        }
    }
    Looked::FAILED
}

async fn objects(
    asking: &Asking<'_>,
    client: &Client,
    name: &str,
) -> (Lookup<Arc<Server>>, Lookup<ServerBinding>) {
    let binding = get::<ServerBinding>(client, name).await;
    let server = match (&binding, asking.services.objects.servers.known(name)) {
        (Lookup::Found(_), _) => {
            let read: Lookup<Server> = get(client, name).await;
            if let Lookup::Found(server) = &read {
                asking.services.objects.servers.note(server);
            }
            read.map(Arc::new)
        }
        (Lookup::NotFound | Lookup::Failed, Some(known)) => Lookup::Found(known.server),
        // All are listed, or nobody could have told which machine it is.
        (Lookup::NotFound | Lookup::Failed, None) => Lookup::NotFound,
    };
    (server, binding)
}

/// Decides what the machine of a query boots.
pub async fn decide(asking: &Asking<'_>) -> Decided {
    let Asking { services, authority, query, seen, admitted } = *asking;
    let default_method = services.sidero.boot_from_disk_method;
    let Looked { identity, server, binding, conflict } = look(asking).await;
    let request = BootRequest {
        identity: identity.as_ref(),
        server: server.as_deref(),
        binding: binding.as_ref(),
        conflict: conflict.as_ref(),
        authority,
        unknown: services.machines.policy(),
        admitted,
        arch: query.arch,
        default_method,
    };
    let objects = Cached { arch: query.arch, objects: &services.objects };
    let mut decision = boot::boot(&request, &objects);
    withhold(&mut decision, query.mac.as_deref(), seen, server.as_deref(), default_method);
    let mut environment = None;
    if let BootAnswer::Environment { name } | BootAnswer::NotReady { name } = &mut decision.answer {
        environment = objects.environment(name).found();
        if let Some(found) = environment.as_ref().and_then(|found| found.metadata.name.clone()) {
            *name = found;
        }
    }
    Decided {
        decision,
        identity: identity.found(),
        environment,
        server: server.found(),
        binding: binding.found(),
    }
}

/// Takes the node system, and with it what its arguments say, back from who is seen not to be the machine: the disk is
/// what such a client loses nothing by. Who cannot be told asks again.
fn withhold(
    decision: &mut BootDecision,
    mac: Option<&str>,
    seen: &Seen,
    server: Lookup<&Server>,
    method: BootFromDiskMethod,
) {
    if !matches!(decision.answer, BootAnswer::Environment { .. } | BootAnswer::NotReady { .. }) {
        return;
    }
    let Err(why) = hand_out::judge_node(mac, seen, server.found()) else { return };
    let answer = match why {
        Withheld::CannotTell => BootAnswer::Unavailable,
        Withheld::NoIdentity
        | Withheld::Held
        | Withheld::NoAddress
        | Withheld::OtherCard
        | Withheld::UnknownCard
        | Withheld::AgentAlive => BootAnswer::BootFromDisk { method },
    };
    *decision = BootDecision { answer, reason: format!("node system withheld: {why}") };
}

/// The objects that a decision may name.
struct Cached<'a> {
    arch: Arch,
    objects: &'a services::Objects,
}

impl Objects for Cached<'_> {
    fn class(&self, name: &str) -> Lookup<Arc<ServerClass>> {
        self.objects.classes.get(name)
    }

    fn environment(&self, name: &str) -> Lookup<Arc<Environment>> {
        let (first, other) = names_for(self.arch, name);
        match (self.objects.environments.get(&first), other) {
            // Only what is known not to exist is passed over.
            (Lookup::NotFound, Some(other)) => self.objects.environments.get(&other),
            (found, _) => found,
        }
    }
}
