//! All Servers by their marks, kept up to date by one watch: what a machine is compared with before anything is changed
//! or handed out.
//!
//! It must never answer before the whole list was read once, and never be the ground of a write that does not name the
//! version that it was made on.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use bloomery_api::Server;
use bloomery_api::decision::identity::{self, Conflict, Identity, Index, Marks};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::ledger::Tombstones;
use bloomery_api::plane::Authority;
use parking_lot::Mutex;

use crate::writes::FIELD_MANAGER;

/// All Servers were not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to compare the machine with all Servers: they are not listed yet")]
pub struct Unlisted;

/// All Servers. Clones share them.
#[derive(Clone, Default)]
pub struct Servers {
    state: Arc<Mutex<State>>,
    #[cfg(test)]
    fake: Option<crate::tests::fake_api::FakeApi>,
}

#[derive(Default)]
struct State {
    listed: bool,
    servers: BTreeMap<String, Known>,
    /// Servers whose system UUID is not their name.
    aliases: usize,
    /// Servers that nobody accepted.
    unaccepted: usize,
    /// Those that the index has not taken in.
    changed: BTreeSet<String>,
    index: Index,
    /// What the index was built with.
    built: Option<Built>,
}

/// What is known of a Server.
#[derive(Clone)]
pub struct Known {
    /// The Server without its processors, memory and writers: nothing is decided by them, and they are most of it.
    pub server: Arc<Server>,
    inventory: Option<u64>,
    /// Whether this version was seen whole, and nobody but the boot services wrote it.
    is_ours: bool,
}

impl Known {
    fn of(server: &Server) -> Self {
        let inventory = server.spec.hardware.as_ref().and_then(digest);
        let writers = server.metadata.managed_fields.as_deref().unwrap_or_default();
        let is_ours = !writers.is_empty()
            && writers.iter().all(|writer| {
                writer.manager.as_deref() == Some(FIELD_MANAGER)
                    && writer.operation.as_deref() == Some("Update")
            });
        Self { server: Arc::new(trimmed(server)), inventory, is_ours }
    }

    /// True when the Server has this inventory, to the last field.
    pub fn has_inventory(&self, hardware: &HardwareInformation) -> bool {
        self.inventory.is_some() && self.inventory == digest(hardware)
    }

    /// True when nobody but the boot services wrote the Server: as its last write told, not the watch, which leaves the
    /// writers out.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }
}

/// Keyed anew in each process, so that nobody can make two inventories look alike.
fn digest(hardware: &HardwareInformation) -> Option<u64> {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    serde_json::to_vec(hardware).ok().map(|octets| KEYS.hash_one(octets))
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
            let servers = self.servers.values().map(|known| &*known.server);
            self.index = Index::build(servers, &HashSet::new(), authority);
            self.built = Some(Built::with(authority));
            self.changed.clear();
        }
        let mut removed = false;
        for name in std::mem::take(&mut self.changed) {
            if let Some(known) = self.servers.get(&name) {
                self.index.set(&known.server, false, authority);
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
    fn put(&mut self, name: String, known: Known) {
        let before = self.servers.get(&name);
        let is_old = before.is_some_and(|before| {
            let (before, known) = (&before.server, &known.server);
            // The same version of a write's answer tells more than that of the watch.
            before.metadata.uid == known.metadata.uid
                && version(before) >= version(known)
                && version(before) > 0
        });
        if !is_old {
            self.count(&known, true);
            if let Some(before) = self.servers.insert(name.clone(), known) {
                self.count(&before, false);
            }
            self.changed.insert(name);
        }
    }

    fn count(&mut self, known: &Known, is_new: bool) {
        let annotations = known.server.metadata.annotations.as_ref();
        let has_alias = annotations.is_some_and(|all| all.contains_key(identity::SYSTEM_UUID_ANNOTATION));
        for (counts, counter) in
            [(has_alias, &mut self.aliases), (!known.server.spec.accepted, &mut self.unaccepted)]
        {
            match (counts, is_new) {
                (true, true) => *counter += 1,
                (true, false) => *counter -= 1,
                (false, _) => {}
            }
        }
    }

    /// Leaves out the object of that uid; one that was made since stays.
    fn remove(&mut self, name: &str, uid: Option<&str>) {
        if self.servers.get(name).is_some_and(|known| known.server.metadata.uid.as_deref() != uid) {
            return;
        }
        if let Some(known) = self.servers.remove(name) {
            self.count(&known, false);
        }
        self.changed.insert(name.to_owned());
    }
}

/// Versions are numbers that grow (Kubernetes 1.35 and later promise it); what is none is older than all.
fn version(server: &Server) -> u64 {
    server.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn trimmed(server: &Server) -> Server {
    let mut trimmed = server.clone();
    trimmed.metadata.managed_fields = None;
    if let Some(hardware) = &mut trimmed.spec.hardware {
        hardware.compute = None;
        hardware.memory = None;
    }
    trimmed
}

impl Servers {
    /// Compares a machine with all Servers and the ledger.
    pub fn identify(&self, marks: &Marks, authority: &Authority) -> Result<Identity, Unlisted> {
        self.with_index(authority, |index| identity::identify(marks, index))
    }

    /// Whether another Server may be the same machine as this one, which is known or was noted.
    pub fn conflict(&self, server: &Server, authority: &Authority) -> Result<Option<Conflict>, Unlisted> {
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
        let Some(name) = server.metadata.name.clone() else { return };
        let known = Known::of(server);
        self.with(|state| state.put(name, known));
    }

    /// The Servers that have this system UUID: by their name, or because a person said so.
    pub fn named(&self, uuid: &str) -> Result<Vec<String>, Unlisted> {
        self.with(|state| {
            if !state.listed {
                return Err(Unlisted);
            }
            let has = |known: &&Known| Marks::of_server(&known.server).uuids.contains(uuid);
            Ok(match state.servers.get(uuid).filter(has) {
                // By far the most.
                Some(_) if state.aliases == 0 => vec![uuid.to_owned()],
                _ => state
                    .servers
                    .iter()
                    .filter(|(_, known)| has(known))
                    .map(|(name, _)| name.clone())
                    .collect(),
            })
        })
    }

    /// A Server as the watch knows it.
    pub fn known(&self, name: &str) -> Option<Known> {
        self.with(|state| state.servers.get(name).cloned())
    }

    /// Servers that nobody accepted.
    pub fn unaccepted(&self) -> usize {
        self.with(|state| state.unaccepted)
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
            let accepted =
                |name: &String| state.servers.get(name).is_some_and(|known| known.server.spec.accepted);
            Some(names.iter().any(accepted))
        })
    }

    /// Another Server whose management controller has this address.
    pub fn controlled_at(&self, address: IpAddr, but: &str) -> Result<Option<String>, Unlisted> {
        self.with(|state| {
            let is_there = |known: &Known| {
                let bmc = known.server.spec.bmc.as_ref();
                let endpoint = bmc.and_then(|bmc| bmc.endpoint.trim().parse::<IpAddr>().ok());
                endpoint.is_some_and(|endpoint| endpoint.to_canonical() == address.to_canonical())
            };
            let mut others = state.servers.iter().filter(|(name, _)| *name != but);
            let found = others.find(|(_, known)| is_there(known)).map(|(name, _)| name.clone());
            if state.listed { Ok(found) } else { Err(Unlisted) }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            *state = State::of_fake(fake);
        }
        work(&mut state)
    }
}

#[cfg(test)]
mod tests;
