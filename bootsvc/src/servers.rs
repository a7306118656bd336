//! All Servers by their marks, kept up to date by one watch: what a machine is compared with before anything is changed
//! or handed out.
//!
//! It must never answer before the whole list was read once, and never be the ground of a write or a hand-out by itself:
//! the Server and its binding are read from the API at the moment of asking.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bloomery_api::Server;
use bloomery_api::decision::identity::{self, Conflict, Identity, Index, Marks};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::ledger::Tombstones;
use bloomery_api::plane::Authority;

/// All Servers were not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to compare the machine with all Servers: they are not listed yet")]
pub struct Unlisted;

/// All Servers. Clones share them.
#[derive(Clone, Default)]
pub struct Servers {
    state: Arc<Mutex<State>>,
    #[cfg(test)]
    fake: Option<crate::fake_api::FakeApi>,
}

#[derive(Default)]
struct State {
    listed: bool,
    servers: BTreeMap<String, Server>,
    /// Those that the index has not taken in.
    changed: BTreeSet<String>,
    index: Index,
    /// What the index was built with.
    built: Option<Built>,
}

struct Built {
    authority: Authority,
    ledger: Option<Arc<Tombstones>>,
}

impl Built {
    fn with(authority: &Authority) -> Self {
        Self { authority: authority.clone(), ledger: ledger_of(authority) }
    }

    fn is_with(&self, authority: &Authority) -> bool {
        let same_ledger = match (&self.ledger, &ledger_of(authority)) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_ledger && self.authority == *authority
    }
}

fn ledger_of(authority: &Authority) -> Option<Arc<Tombstones>> {
    authority.trust().and_then(|trust| trust.ledger.clone())
}

impl State {
    /// The index as it follows from all that is known now.
    fn index(&mut self, authority: &Authority) -> &Index {
        if !self.built.as_ref().is_some_and(|built| built.is_with(authority)) {
            // A claim is on record before the machine is given anything, so the bindings are not needed here.
            self.index = Index::build(self.servers.values(), &HashSet::new(), authority);
            self.built = Some(Built::with(authority));
            self.changed.clear();
        }
        let mut removed = false;
        for name in std::mem::take(&mut self.changed) {
            if let Some(server) = self.servers.get(&name) {
                self.index.set(server, false, authority);
            } else {
                self.index.remove(&name);
                removed = true;
            }
        }
        if removed && let Some(ledger) = ledger_of(authority) {
            self.index.add_tombstones(&ledger);
        }
        &self.index
    }

    /// Takes a Server in, unless a later version of it is known.
    fn put(&mut self, server: &Server) {
        let Some(name) = server.metadata.name.clone() else { return };
        let is_old = self.servers.get(&name).is_some_and(|known| {
            known.metadata.uid == server.metadata.uid && version(known) > version(server)
        });
        if !is_old {
            self.servers.insert(name.clone(), kept(server));
            self.changed.insert(name);
        }
    }

    fn remove(&mut self, name: &str) {
        self.servers.remove(name);
        self.changed.insert(name.to_owned());
    }
}

/// Versions are numbers that grow (Kubernetes 1.35 and later promise it); what is none is older than all.
fn version(server: &Server) -> u64 {
    server.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// What of a Server the comparison needs.
fn kept(server: &Server) -> Server {
    let mut kept = server.clone();
    kept.metadata.managed_fields = None;
    if let Some(hardware) = &mut kept.spec.hardware {
        *hardware = HardwareInformation { compute: None, memory: None, ..std::mem::take(hardware) };
    }
    if let Some(status) = &mut kept.status {
        status.conditions = Vec::new();
        status.addresses = Vec::new();
    }
    kept
}

impl Servers {
    /// Compares a machine with all Servers and the ledger.
    pub fn identify(&self, marks: &Marks, authority: &Authority) -> Result<Identity, Unlisted> {
        self.with_index(authority, |index| identity::identify(marks, index))
    }

    /// Whether another Server may be the same machine as this one, which was just read.
    pub fn conflict(&self, server: &Server, authority: &Authority) -> Result<Option<Conflict>, Unlisted> {
        self.note(server);
        self.with_index(authority, |index| Conflict::of(server, index))
    }

    /// The name that a new machine's Server gets.
    pub fn new_name(&self, marks: &Marks, authority: &Authority) -> Result<Option<String>, Unlisted> {
        self.with_index(authority, |index| identity::new_server_name(marks, index))
    }

    fn with_index<T>(&self, authority: &Authority, work: impl FnOnce(&Index) -> T) -> Result<T, Unlisted> {
        self.with(|state| if state.listed { Ok(work(state.index(authority))) } else { Err(Unlisted) })
    }

    /// Takes in a Server as it was just read or written: the watch comes a moment later.
    pub fn note(&self, server: &Server) {
        self.with(|state| state.put(server));
    }

    /// The Servers that have this system UUID: by their name, or because a person said so.
    pub fn named(&self, uuid: &str) -> Vec<String> {
        self.with(|state| {
            let has = |server: &&Server| Marks::of_server(server).uuids.contains(uuid);
            match state.servers.get(uuid).filter(has) {
                // By far the most.
                Some(_) if !state.has_aliases() => vec![uuid.to_owned()],
                _ => state
                    .servers
                    .iter()
                    .filter(|(_, server)| has(server))
                    .map(|(name, _)| name.clone())
                    .collect(),
            }
        })
    }

    /// A Server as the watch knows it.
    pub fn known(&self, name: &str) -> Option<Server> {
        self.with(|state| state.servers.get(name).cloned())
    }

    /// Servers that nobody accepted.
    pub fn unaccepted(&self) -> usize {
        self.with(|state| state.servers.values().filter(|server| !server.spec.accepted).count())
    }

    /// Whether a Server that a person accepted has this card or this system UUID; none if nobody can tell.
    pub fn is_accepted(&self, card: Option<&str>, uuid: Option<&str>) -> Option<bool> {
        let marks = Marks::of_query(uuid, card, None);
        self.with(|state| {
            if !state.listed {
                return None;
            }
            // As the last decision saw them; before the first one nothing is claimed for sure, which changes nothing here.
            let authority = state.built.as_ref().map_or(Authority::Unknown, |built| built.authority.clone());
            let names = match identity::identify(&marks, state.index(&authority)) {
                Identity::Same { server, by: _ } | Identity::Other { server, why: _ } => vec![server],
                Identity::Suspect { peers } => peers.into_iter().map(|peer| peer.server).collect(),
                Identity::New | Identity::Unnamed => Vec::new(),
            };
            let accepted = |name: &String| state.servers.get(name).is_some_and(|server| server.spec.accepted);
            Some(names.iter().any(accepted))
        })
    }

    /// Another Server whose management controller has this address.
    pub fn controlled_at(&self, address: IpAddr, but: &str) -> Result<Option<String>, Unlisted> {
        self.with(|state| {
            let is_there = |server: &&Server| {
                let bmc = server.spec.bmc.as_ref();
                let endpoint = bmc.and_then(|bmc| bmc.endpoint.trim().parse::<IpAddr>().ok());
                endpoint.is_some_and(|endpoint| endpoint.to_canonical() == address.to_canonical())
            };
            let others = state.servers.values().filter(|server| server.metadata.name.as_deref() != Some(but));
            let found = others.filter(is_there).find_map(|server| server.metadata.name.clone());
            if state.listed { Ok(found) } else { Err(Unlisted) }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            *state = State::of_fake(fake);
        }
        work(&mut state)
    }
}

impl State {
    /// Whether any Server has a system UUID that is not its name.
    fn has_aliases(&self) -> bool {
        self.servers.values().any(|server| {
            let annotations = server.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(identity::SYSTEM_UUID_ANNOTATION))
        })
    }

    #[cfg(test)]
    fn of_fake(fake: &crate::fake_api::FakeApi) -> Self {
        let all = fake.objects_below(&crate::fake_api::metal("servers", ""));
        let servers = all.into_iter().filter_map(|object| serde_json::from_value::<Server>(object).ok());
        let by_name = |server: Server| Some((server.metadata.name.clone()?, server));
        Self {
            listed: !fake.servers_are_unlisted(),
            servers: servers.filter_map(by_name).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
impl Servers {
    /// The Servers of a fake API, read with each question.
    pub(crate) fn of_fake(fake: crate::fake_api::FakeApi) -> Self {
        Self { state: Arc::default(), fake: Some(fake) }
    }
}

#[cfg(test)]
mod tests;
