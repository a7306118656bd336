//! Which machine is it: UUID, serial number and hardware addresses compared with all Servers and with the ledger.
//!
//! Asked before a registration changes or makes anything, before `/ipxe` hands out anything and before a wipe order.
//! A UUID is one of several marks, and a mark that many machines carry is none (see [`crate::placeholder`]).
//! Never takes a machine for another one because nothing contradicts it, where something could.

mod conflict;
mod index;
mod peer;

pub use conflict::{Conflict, IDENTITY_CONFLICT};
pub use index::Index;
pub use peer::{Peer, SharedMark};

pub use crate::marks::{Marks, RIVAL_ANNOTATION, Rival, SYSTEM_UUID_ANNOTATION, rivals};

use std::cmp::Ordering;
use std::collections::BTreeSet;

use sha1::{Digest as _, Sha1};

/// Annotation of a Server with the names, uids or system UUIDs of machines that a person declared to be others,
/// separated by commas (`bloomery servers split`).
pub const DISTINCT_FROM_ANNOTATION: &str = "bloomery.dev/distinct-from";

/// By what a machine was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A hardware address that the Server has on record. Nothing less gets a boot token or a wipe.
    Card,
    /// Its serial number; its card is another one. It may boot what the Server boots, and its inventory waits for a
    /// person.
    Serial,
    /// Its UUID alone: the Server, or the query, has no card and no serial number that could tell.
    Uuid,
}

impl Proof {
    const fn strength(self) -> u8 {
        match self {
            Self::Card => 2,
            Self::Serial => 1,
            Self::Uuid => 0,
        }
    }
}

/// Which machine it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The one of this Server.
    Same {
        /// Name of the Server.
        server: String,
        /// By what.
        by: Proof,
    },
    /// One that no Server and no tombstone knows.
    New,
    /// It shows the UUID of this Server and is surely, or for all one can tell, another machine.
    Other {
        /// Name of the Server.
        server: String,
        /// Why.
        why: OtherWhy,
    },
    /// Its UUID is new, but it may be a machine that is known by another name.
    Suspect {
        /// The Servers and tombstones that it shares marks with; never empty.
        peers: Vec<Peer>,
    },
    /// It has no UUID, and no Server has its card.
    Unnamed,
}

/// Why a machine is not the one that its UUID says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherWhy {
    /// Other card, other serial number.
    CardAndSerial,
    /// Other card, and no serial number that could tell.
    Card,
    /// Other serial number, and no card that could tell.
    Serial,
}

impl OtherWhy {
    /// Why, for answers and logs.
    pub const fn message(self) -> &'static str {
        match self {
            Self::CardAndSerial => "another network card and another serial number",
            Self::Card => "another network card, and no serial number of its own",
            Self::Serial => "another serial number",
        }
    }
}

impl Identity {
    /// The Server that the machine is, if it is one.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Same { server, by: _ } => Some(server),
            Self::New | Self::Other { .. } | Self::Suspect { .. } | Self::Unnamed => None,
        }
    }

    /// True when the machine may be made a Server that is accepted without a person, and recorded as never used.
    pub const fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    /// True when a claimed machine may be behind it: its firmware gets its disk.
    pub fn may_be_claimed(&self) -> bool {
        match self {
            Self::Suspect { peers } => peers.iter().any(|peer| peer.claimed),
            // Neither machine loses anything by booting its disk.
            Self::Other { .. } => true,
            Self::Same { .. } | Self::New | Self::Unnamed => false,
        }
    }
}

/// Compares the marks of a machine with everything that is known.
pub fn identify(marks: &Marks, index: &Index) -> Identity {
    let named: BTreeSet<&str> = marks.uuids.iter().flat_map(|uuid| index.of_uuid(uuid)).collect();
    if !named.is_empty() && !is_split_off(marks, index, &named) {
        return among(marks, index, &named);
    }
    let peers = index.peers_of(marks);
    if !marks.uuids.is_empty() {
        return if peers.is_empty() { Identity::New } else { Identity::Suspect { peers } };
    }
    // It cannot name itself: its card says which Server it is, if it says so of one only.
    let mut by_card = peers.iter().filter(|peer| matches!(peer.mark, SharedMark::Card(_)));
    match (by_card.next(), by_card.next()) {
        (Some(only), None) if !only.is_tombstone && !contradicts(marks, index, &only.server) => {
            Identity::Same { server: only.server.clone(), by: Proof::Card }
        }
        (None, _) => Identity::Unnamed,
        _ => Identity::Suspect { peers },
    }
}

/// True for a machine that has a cloned UUID, that a person declared to be another one than each Server with that UUID,
/// and that none of them has on record.
fn is_split_off(marks: &Marks, index: &Index, named: &BTreeSet<&str>) -> bool {
    named.iter().all(|name| {
        let is_known = index.marks_of(name).is_some_and(|known| !known.cards.is_disjoint(&marks.cards));
        !is_known && index.are_declared_distinct(name, marks)
    })
}

/// Name of the Server that a machine gets that [`identify`] calls new: its UUID, or a name made of UUID and lowest card
/// where other Servers have the UUID too. None without a UUID, or without a card where one is needed. The name of a
/// tombstone is free.
pub fn new_server_name(marks: &Marks, index: &Index) -> Option<String> {
    let uuid = marks.uuids.first()?;
    if index.of_uuid(uuid).all(|name| index.is_tombstone(name)) {
        return Some(uuid.clone());
    }
    split_name(uuid, marks.cards.first()?)
}

/// The UUID (version 5, RFC 9562) in the name space of the system UUID over the card.
pub fn split_name(uuid: &str, card: &str) -> Option<String> {
    let space = uuid::Uuid::try_parse(uuid).ok()?;
    let digest = Sha1::new().chain_update(space.as_bytes()).chain_update(card.as_bytes()).finalize();
    let octets: [u8; 16] = digest.as_slice().get(..16)?.try_into().ok()?;
    Some(uuid::Builder::from_sha1_bytes(octets).into_uuid().hyphenated().to_string())
}

/// A machine without a UUID, whose serial number is another one than the Server's.
fn contradicts(marks: &Marks, index: &Index, server: &str) -> bool {
    let known = index.marks_of(server).and_then(|known| known.serial.as_ref());
    matches!((&marks.serial, known), (Some(own), Some(known)) if own != known)
}

/// Which of the Servers with its UUID the machine is.
fn among(marks: &Marks, index: &Index, named: &BTreeSet<&str>) -> Identity {
    let mut best: Option<(Proof, &str)> = None;
    let mut refused: Option<(OtherWhy, &str)> = None;
    let mut is_tied = false;
    for name in named {
        let Some(known) = index.marks_of(name) else { continue };
        match compare(known, marks) {
            Ok(proof) => {
                // A machine that registered again has a Server of its own beside its tombstone: it is that one, which is
                // held for the mark that both share.
                let rank = |proof: Proof, name: &str| (proof.strength(), !index.is_tombstone(name));
                let order = best
                    .map_or(Ordering::Greater, |(before, other)| rank(proof, name).cmp(&rank(before, other)));
                is_tied = order.is_eq() || (order.is_lt() && is_tied);
                if order.is_gt() {
                    best = Some((proof, name));
                }
            }
            Err(why) => refused = refused.or(Some((why, name))),
        }
    }
    match (best, refused) {
        (Some((by, server)), _) if !is_tied && !index.is_tombstone(server) => {
            Identity::Same { server: server.to_owned(), by }
        }
        (Some(_), _) | (None, None) => Identity::Suspect { peers: index.peers_of(marks) },
        (None, Some((why, server))) => Identity::Other { server: server.to_owned(), why },
    }
}

/// Compares a machine with a Server that has its UUID.
fn compare(known: &Marks, seen: &Marks) -> Result<Proof, OtherWhy> {
    let serials = match (&known.serial, &seen.serial) {
        (Some(known), Some(seen)) => Some(known == seen),
        (None, _) | (_, None) => None,
    };
    let cards = if known.cards.is_empty() || seen.cards.is_empty() {
        None
    } else {
        Some(!known.cards.is_disjoint(&seen.cards))
    };
    match (cards, serials) {
        (Some(true), _) => Ok(Proof::Card),
        (Some(false) | None, Some(true)) => Ok(Proof::Serial),
        (None, None) => Ok(Proof::Uuid),
        (Some(false), Some(false)) => Err(OtherWhy::CardAndSerial),
        (Some(false), None) => Err(OtherWhy::Card),
        (None, Some(false)) => Err(OtherWhy::Serial),
    }
}

#[cfg(test)]
mod tests;
