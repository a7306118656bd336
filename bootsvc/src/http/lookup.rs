//! The objects behind a boot decision, read from the Kubernetes API at the moment of asking.
//!
//! "Not found" is believed only when the API says that this very object does not exist; every
//! other failure is "nobody could tell", so that a machine whose binding cannot be read is never
//! given the agent (promise S2 of the design).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use bloomery_api::boot_method::BootFromDiskMethod;
use bloomery_api::decision::Lookup;
use bloomery_api::decision::boot::{self, Arch, BootAnswer, BootDecision, BootRequest, Objects};
use bloomery_api::decision::identity::{Conflict, Identity, Marks};
use bloomery_api::decision::unknown::UnknownMachines;
use bloomery_api::environment::names_for;
use bloomery_api::plane::Authority;
use bloomery_api::{Environment, Server, ServerBinding, ServerClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::Status;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::hand_out::{self, Withheld};
use super::query::Query;
use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};
use crate::neighbours::Seen;
use crate::servers::Servers;

/// The definition of `ServerBinding`; where it is not installed no machine can be bound.
const SERVER_BINDING_CRD: &str = "serverbindings.infrastructure.cluster.x-k8s.io";
/// Objects a decision can ask for after `Server` and `ServerBinding`: a class, then an Environment.
const MAX_ROUNDS: usize = 4;

/// Times the objects are read again because the Server turned out to be another than the list of all Servers says.
const MAX_LOOKS: usize = 3;

/// One question.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The Kubernetes API.
    pub kubernetes: &'a Kubernetes,
    /// All Servers.
    pub servers: &'a Servers,
    /// What this plane may do.
    pub authority: &'a Authority,
    /// What the machine says.
    pub query: &'a Query,
    /// What is seen of it.
    pub seen: &'a Seen,
    /// `--boot-from-disk-method`.
    pub default_method: BootFromDiskMethod,
    /// `--unknown-machines`.
    pub unknown: UnknownMachines,
    /// Whether the lists of machines admit it.
    pub admitted: bool,
}

/// A decision and the objects that its answer is written from.
#[derive(Debug)]
pub struct Decided {
    /// What to answer.
    pub decision: BootDecision,
    /// Which machine asks, if that could be told.
    pub identity: Option<Identity>,
    /// The Environment, for its kernel arguments.
    pub environment: Option<Arc<Environment>>,
    /// The machine's Server, if it has one.
    pub server: Option<Server>,
    /// Its binding, if it has one.
    pub binding: Option<ServerBinding>,
}

/// The machine as it is on record.
struct Looked {
    identity: Lookup<Identity>,
    server: Lookup<Server>,
    binding: Lookup<ServerBinding>,
    conflict: Option<Conflict>,
}

impl Looked {
    const FAILED: Self =
        Self { identity: Lookup::Failed, server: Lookup::Failed, binding: Lookup::Failed, conflict: None };
}

/// Finds out which machine asks, and reads its objects. What the list of all Servers says counts only if the Server,
/// read now, says the same.
async fn look(asking: &Asking<'_>) -> Looked {
    let Some(client) = asking.kubernetes.client() else { return Looked::FAILED };
    let Query { uuid, mac, serial, .. } = asking.query;
    let marks = Marks::of_query(uuid.as_deref(), mac.as_deref(), Some(serial.as_str()));
    let compare = || asking.servers.identify(&marks, asking.authority).ok();
    for _ in 0..MAX_LOOKS {
        let Some(identity) = compare() else { return Looked::FAILED };
        let name = match &identity {
            Identity::Same { server, by: _ } => Some(server.as_str()),
            Identity::New | Identity::Suspect { .. } => marks.uuids.first().map(String::as_str),
            // The objects of that name are another machine's.
            Identity::Other { .. } | Identity::Unnamed => None,
        };
        let (server, binding) = match name {
            Some(name) => tokio::join!(get::<Server>(&client, name), binding(&client, name)),
            None => (Lookup::NotFound, Lookup::NotFound),
        };
        let conflict = match (&identity, &server) {
            (_, Lookup::Found(server)) => match asking.servers.conflict(server, asking.authority) {
                Ok(conflict) => conflict,
                Err(_) => return Looked::FAILED,
            },
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

/// Decides what the machine of a query boots.
pub async fn decide(asking: &Asking<'_>) -> Decided {
    let Asking { kubernetes, servers: _, authority, query, seen, default_method, unknown, admitted } =
        *asking;
    let client = kubernetes.client();
    let Looked { identity, server, binding, conflict } = look(asking).await;
    let request = BootRequest {
        identity: identity.as_ref(),
        server: server.as_ref(),
        binding: binding.as_ref(),
        conflict: conflict.as_ref(),
        authority,
        unknown,
        admitted,
        arch: query.arch,
        default_method,
    };
    let mut objects = Fetched { arch: query.arch, ..Fetched::default() };
    let mut decision = None;
    for _ in 0..MAX_ROUNDS {
        let made = boot::boot(&request, &objects);
        let Some(wanted) = objects.wanted.take() else {
            decision = Some(made);
            break;
        };
        objects.fetch(client.as_ref(), wanted).await;
    }
    let mut decision = decision.unwrap_or_else(|| BootDecision {
        answer: BootAnswer::Unavailable,
        reason: "the objects that name the Environment keep changing".to_owned(),
    });
    withhold(&mut decision, query.mac.as_deref(), seen, server.as_ref(), default_method);
    let mut environment = None;
    if let BootAnswer::Environment { name } | BootAnswer::NotReady { name } = &mut decision.answer {
        environment = objects.found_environment(name);
        if let Some(found) = environment.as_ref().and_then(|found| found.metadata.name.clone()) {
            *name = found;
        }
    }
    let (server, binding) = (found(server), found(binding));
    Decided { decision, identity: found(identity), environment, server, binding }
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
    let Err(why) = hand_out::judge_node(mac, seen, found(server)) else { return };
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

fn found<T>(lookup: Lookup<T>) -> Option<T> {
    match lookup {
        Lookup::Found(object) => Some(object),
        Lookup::NotFound | Lookup::Failed => None,
    }
}

/// Reads the `ServerBinding` of a machine. Without the kind there is none; that is believed only when
/// the definition itself is known not to exist.
pub async fn binding(client: &Client, name: &str) -> Lookup<ServerBinding> {
    match ask(client, name).await {
        Asked::Found(binding) => Lookup::Found(binding),
        Asked::Missing => Lookup::NotFound,
        Asked::Failed => Lookup::Failed,
        Asked::UnknownKind => match ask::<CustomResourceDefinition>(client, SERVER_BINDING_CRD).await {
            Asked::Missing => Lookup::NotFound,
            Asked::Found(_) | Asked::UnknownKind | Asked::Failed => Lookup::Failed,
        },
    }
}

/// Reads one cluster-scoped object.
pub async fn get<K>(client: &Client, name: &str) -> Lookup<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match ask(client, name).await {
        Asked::Found(object) => Lookup::Found(object),
        Asked::Missing => Lookup::NotFound,
        Asked::UnknownKind | Asked::Failed => Lookup::Failed,
    }
}

/// What the API said of one object.
enum Asked<K> {
    Found(K),
    /// This object does not exist.
    Missing,
    /// 404, but not about this object.
    UnknownKind,
    Failed,
}

async fn ask<K>(client: &Client, name: &str) -> Asked<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let kind = K::kind(&());
    match tokio::time::timeout(ANSWER_WITHIN, api.get(name)).await {
        Ok(Ok(object)) => Asked::Found(object),
        Ok(Err(kube::Error::Api(status))) if is_object_missing(&status, name) => Asked::Missing,
        Ok(Err(error)) => {
            tracing::warn!(kind = %kind, name, error = bloomery_base::chain(&error), "kubernetes lookup failed");
            match error {
                kube::Error::Api(status) if status.code == 404 => Asked::UnknownKind,
                _ => Asked::Failed,
            }
        }
        Err(_) => {
            tracing::warn!(kind = %kind, name, "kubernetes lookup took too long");
            Asked::Failed
        }
    }
}

/// Whether the API server itself says that the object of this name does not exist. A 404 without
/// these details comes from an unknown kind, a proxy, or a server that is starting.
fn is_object_missing(status: &Status, name: &str) -> bool {
    status.code == 404
        && status.reason == "NotFound"
        && status.details.as_ref().is_some_and(|details| details.name == name)
}

/// What the decision may still ask for.
#[derive(Debug)]
enum Wanted {
    Class(String),
    Environment(String),
}

/// Objects read so far. The decision cannot wait, so one that is not here yet is noted, read, and
/// the decision is made again.
#[derive(Default)]
struct Fetched {
    arch: Arch,
    classes: HashMap<String, Lookup<Arc<ServerClass>>>,
    environments: HashMap<String, Lookup<Arc<Environment>>>,
    wanted: RefCell<Option<Wanted>>,
}

impl Fetched {
    async fn fetch(&mut self, client: Option<&Client>, wanted: Wanted) {
        match (wanted, client) {
            (Wanted::Class(name), Some(client)) => {
                let class = shared(get(client, &name).await);
                self.classes.insert(name, class);
            }
            (Wanted::Environment(base), Some(client)) => {
                let (first, other) = names_for(self.arch, &base);
                let mut environment = shared(get(client, &first).await);
                // Only what is known not to exist is passed over.
                if let (Lookup::NotFound, Some(other)) = (&environment, other) {
                    environment = shared(get(client, &other).await);
                }
                self.environments.insert(base, environment);
            }
            (Wanted::Class(name), None) => {
                self.classes.insert(name, Lookup::Failed);
            }
            (Wanted::Environment(name), None) => {
                self.environments.insert(name, Lookup::Failed);
            }
        }
    }

    fn found_environment(&self, name: &str) -> Option<Arc<Environment>> {
        match self.environments.get(name) {
            Some(Lookup::Found(environment)) => Some(environment.clone()),
            _ => None,
        }
    }
}

fn shared<T>(lookup: Lookup<T>) -> Lookup<Arc<T>> {
    match lookup {
        Lookup::Found(object) => Lookup::Found(Arc::new(object)),
        Lookup::NotFound => Lookup::NotFound,
        Lookup::Failed => Lookup::Failed,
    }
}

impl Objects for Fetched {
    fn class(&self, name: &str) -> Lookup<Arc<ServerClass>> {
        self.classes.get(name).cloned().unwrap_or_else(|| {
            self.wanted.replace(Some(Wanted::Class(name.to_owned())));
            Lookup::Failed
        })
    }

    fn environment(&self, name: &str) -> Lookup<Arc<Environment>> {
        self.environments.get(name).cloned().unwrap_or_else(|| {
            self.wanted.replace(Some(Wanted::Environment(name.to_owned())));
            Lookup::Failed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    #[test]
    fn only_the_api_servers_own_word_means_not_found() {
        let details: StatusDetails = serde_json::from_value(serde_json::json!({ "name": "u" })).unwrap();
        let missing =
            Status::failure("servers \"u\" not found", "NotFound").with_code(404).with_details(details);
        assert!(is_object_missing(&missing, "u"));
        assert!(!is_object_missing(&missing, "v"));
        // What an API server without the kind, and a proxy, answer.
        let page = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(!is_object_missing(&page, "u"));
        assert!(!is_object_missing(&Status::failure("", "NotFound").with_code(404), "u"));
        assert!(!is_object_missing(&Status::failure("", "Forbidden").with_code(403), "u"));
    }
}
