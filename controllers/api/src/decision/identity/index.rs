//! All Servers and tombstones, by their marks.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::peer::{Peer, SharedMark};
use super::{DISTINCT_FROM_ANNOTATION, Marks};
use crate::evidence::Evidence;
use crate::ledger::{Fate, Tombstones};
use crate::plane::Authority;
use crate::server::Server;

#[derive(Clone, Debug)]
struct Known {
    marks: Marks,
    claimed: bool,
    is_tombstone: bool,
    /// Names, uids and UUIDs that a person declared to be others.
    distinct: BTreeSet<String>,
    uid: String,
}

impl Known {
    /// True when a person declared a machine with these marks to be another one: by a card or UUID that this one has not.
    fn declares_other(&self, marks: &Marks) -> bool {
        let own = &self.marks;
        let cards = marks.cards.difference(&own.cards);
        let uuids = marks.uuids.difference(&own.uuids);
        cards.chain(uuids).any(|mark| self.distinct.contains(mark))
    }
}

/// Finds Servers and tombstones by UUID, serial number and card.
#[derive(Clone, Debug, Default)]
pub struct Index {
    known: BTreeMap<String, Known>,
    uuids: BTreeMap<String, BTreeSet<String>>,
    serials: BTreeMap<String, BTreeSet<String>>,
    cards: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    /// Of all Servers, the names of all bindings, and the ledger that `authority` carries.
    pub fn build<'a>(
        servers: impl IntoIterator<Item = &'a Server>,
        bound: &HashSet<String>,
        authority: &Authority,
    ) -> Self {
        let mut index = Self::default();
        for server in servers {
            index.set(server, bound.contains(server.metadata.name.as_deref().unwrap_or_default()), authority);
        }
        if let Some(ledger) = authority.trust().and_then(|trust| trust.ledger.as_deref()) {
            index.add_tombstones(ledger);
        }
        index
    }

    /// Puts a Server in, or in the place of the one of its name. `bound` says whether it has a binding.
    pub fn set(&mut self, server: &Server, bound: bool, authority: &Authority) {
        let Some(name) = server.metadata.name.clone() else { return };
        let annotations = server.metadata.annotations.as_ref();
        let distinct = annotations.and_then(|all| all.get(DISTINCT_FROM_ANNOTATION));
        let known = Known {
            marks: Marks::of_server(server),
            claimed: bound || may_be_claimed(server, authority),
            is_tombstone: false,
            distinct: distinct
                .iter()
                .flat_map(|text| text.split(','))
                .map(|one| one.trim().to_owned())
                .collect(),
            uid: server.metadata.uid.clone().unwrap_or_default(),
        };
        self.put(name, known);
    }

    /// Takes a Server out. Its tombstone, if it has one, is to be added again.
    pub fn remove(&mut self, name: &str) {
        let Some(known) = self.known.remove(name) else { return };
        let Marks { uuids, serial, cards } = known.marks;
        let maps = [(&mut self.uuids, uuids), (&mut self.cards, cards)];
        for (map, marks) in maps {
            for mark in &marks {
                take(map, mark, name);
            }
        }
        if let Some(serial) = serial {
            take(&mut self.serials, &serial, name);
        }
    }

    /// Adds the machines of the ledger whose Servers are gone.
    pub fn add_tombstones(&mut self, ledger: &Tombstones) {
        for entry in ledger.iter().filter(|entry| entry.fate != Fate::Free) {
            if self.known.contains_key(&entry.server) {
                continue;
            }
            let known = Known {
                marks: entry.marks.clone(),
                // Of a forgotten machine a person said that it may come back as a new one, which a person looks at.
                claimed: entry.fate != Fate::Forgotten,
                is_tombstone: true,
                distinct: BTreeSet::new(),
                uid: entry.uid.clone(),
            };
            self.put(entry.server.clone(), known);
        }
    }

    fn put(&mut self, name: String, known: Known) {
        self.remove(&name);
        let Marks { uuids, serial, cards } = &known.marks;
        for (map, marks) in [(&mut self.uuids, uuids), (&mut self.cards, cards)] {
            for mark in marks {
                map.entry(mark.clone()).or_default().insert(name.clone());
            }
        }
        if let Some(serial) = serial {
            self.serials.entry(serial.clone()).or_default().insert(name.clone());
        }
        self.known.insert(name, known);
    }

    pub(super) fn of_uuid(&self, uuid: &str) -> impl Iterator<Item = &str> {
        self.uuids.get(uuid).into_iter().flatten().map(String::as_str)
    }

    pub(super) fn marks_of(&self, server: &str) -> Option<&Marks> {
        self.known.get(server).map(|known| &known.marks)
    }

    /// True when a person declared a machine with these marks to be another one than that Server's.
    pub(super) fn are_declared_distinct(&self, server: &str, marks: &Marks) -> bool {
        self.known.get(server).is_some_and(|known| known.declares_other(marks))
    }

    pub(super) fn is_tombstone(&self, server: &str) -> bool {
        self.known.get(server).is_some_and(|known| known.is_tombstone)
    }

    /// Everything that shares a mark with a machine that is none of them: a UUID or card with any, a serial number with
    /// those that are claimed (machines of one chassis share it). Those that a person declared to be others are left out.
    pub(super) fn peers_of(&self, marks: &Marks) -> Vec<Peer> {
        let mut peers = self.sharing(marks);
        peers.retain(|peer| {
            let known = self.known.get(&peer.server);
            !known.is_some_and(|known| known.declares_other(marks))
        });
        peers
    }

    /// Everything that shares a mark with the Server of that name, those apart that a person declared to be others.
    pub(super) fn peers_of_server(&self, name: &str) -> Vec<Peer> {
        let Some(own) = self.known.get(name) else { return Vec::new() };
        let mut peers = self.sharing(&own.marks);
        peers.retain(|peer| peer.server != name && !self.are_distinct(own, name, &peer.server));
        peers
    }

    fn are_distinct(&self, own: &Known, name: &str, peer: &str) -> bool {
        let Some(other) = self.known.get(peer) else { return false };
        let says = |one: &Known, other: &Known, name: &str| {
            one.distinct.contains(name)
                || (!other.uid.is_empty() && one.distinct.contains(&other.uid))
                || one.declares_other(&other.marks)
        };
        says(own, other, peer) || says(other, own, name)
    }

    fn sharing(&self, marks: &Marks) -> Vec<Peer> {
        let mut found: BTreeMap<&str, SharedMark> = BTreeMap::new();
        // The strongest mark stands.
        if let Some(serial) = &marks.serial {
            for name in self.serials.get(serial).into_iter().flatten() {
                if self.known.get(name).is_some_and(|known| known.claimed || known.is_tombstone) {
                    found.insert(name, SharedMark::Serial(serial.clone()));
                }
            }
        }
        for card in &marks.cards {
            for name in self.cards.get(card).into_iter().flatten() {
                found.insert(name, SharedMark::Card(card.clone()));
            }
        }
        for uuid in &marks.uuids {
            for name in self.uuids.get(uuid).into_iter().flatten() {
                found.entry(name).or_insert_with(|| SharedMark::Uuid(uuid.clone()));
            }
        }
        let peer = |(name, mark): (&str, SharedMark)| {
            let known = self.known.get(name)?;
            let Known { claimed, is_tombstone, .. } = *known;
            Some(Peer { server: name.to_owned(), mark, claimed, is_tombstone })
        };
        found.into_iter().filter_map(peer).collect()
    }
}

fn take(map: &mut BTreeMap<String, BTreeSet<String>>, mark: &str, name: &str) {
    if let Some(names) = map.get_mut(mark) {
        names.remove(name);
        if names.is_empty() {
            map.remove(mark);
        }
    }
}

/// True when a cluster has the machine or may have it, as far as its Server tells.
fn may_be_claimed(server: &Server, authority: &Authority) -> bool {
    let in_use = server.status.as_ref().is_some_and(|status| status.in_use);
    match Evidence::of(server, authority) {
        Evidence::Bound | Evidence::Installed | Evidence::Void(_) => true,
        Evidence::Released(_) => false,
        Evidence::None | Evidence::NeverUsed(_) | Evidence::Unconsented(_) | Evidence::Clean(_) => in_use,
    }
}
