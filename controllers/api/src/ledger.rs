//! Tombstones: what a plane remembers of every machine that was ever claimed, outside of the API.
//!
//! They survive the deletion of Servers and bindings and a restore of etcd. The file is `bloomery_plane`'s; here is
//! what one entry says and which entry replaces which. What a Server adds: [`crate::decision::tombstone`].
//! Never forgets a claim because its Server is gone, and never lets a record of "never used" end one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::marks::Marks;
use crate::server::Server;
use crate::zero::is_zero;

/// Where a machine stood last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// A cluster has or had it, and nobody let go.
    Claimed,
    /// It was released, or a person confirmed that its disks may go.
    Free,
    /// A person let its Server be deleted while it was claimed: its machine may register again, and is known.
    Forgotten,
    /// Its Server vanished while it was claimed, and the plane was fenced for it once.
    Vanished,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// Name of its Server.
    pub server: String,
    /// `metadata.uid` of that Server.
    pub uid: String,
    /// What the machine is known by.
    pub marks: Marks,
    /// Where it stood last.
    pub fate: Fate,
    /// Whether the node of its present claim is installed: a claim that a restore brings back says less.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub installed: bool,
    /// Number of its last record.
    pub seq: u64,
    /// Name of its last record.
    pub record: String,
    /// Epoch of the plane.
    pub epoch: i64,
    /// Revision of etcd at which this was seen.
    pub revision: u64,
    /// When. For people; nothing is decided by it.
    pub time: Time,
}

impl Tombstone {
    /// True when both say the same, whatever the time and revision.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { server, uid, marks, fate, installed, seq, record, epoch, revision: _, time: _ } = self;
        *server == other.server
            && *uid == other.uid
            && *marks == other.marks
            && *fate == other.fate
            && *installed == other.installed
            && *seq == other.seq
            && *record == other.record
            && *epoch == other.epoch
    }
}

/// All entries, by the name of the Server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tombstones {
    by_server: BTreeMap<String, Tombstone>,
    highest: u64,
    epoch: i64,
}

impl Tombstones {
    /// Takes an entry in; it replaces the one of the same Server. Of a lower number than the one that is there it says
    /// nothing new.
    pub fn note(&mut self, entry: Tombstone) {
        if entry.epoch > self.epoch {
            (self.epoch, self.highest) = (entry.epoch, 0);
        }
        if entry.epoch == self.epoch {
            self.highest = self.highest.max(entry.revision);
        }
        let known = self.by_server.get(&entry.server);
        if known.is_none_or(|known| known.uid != entry.uid || known.seq <= entry.seq) {
            self.by_server.insert(entry.server.clone(), entry);
        }
    }

    /// The entry of the Server of that name.
    pub fn of(&self, server: &str) -> Option<&Tombstone> {
        self.by_server.get(server)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Tombstone> {
        self.by_server.values()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.by_server.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.by_server.is_empty()
    }

    /// The highest epoch, and the highest revision of etcd in it, at which an entry was written: a state that has not
    /// got so far was restored.
    pub const fn seen(&self) -> (i64, u64) {
        (self.epoch, self.highest)
    }

    /// The claimed machines whose Servers are not among `servers` (all names that exist): each is a reason to fence.
    pub fn vanished<'a>(&'a self, servers: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Tombstone> {
        self.iter().filter(|entry| entry.fate == Fate::Claimed && !servers.contains(&entry.server))
    }

    /// The entry with another fate, to be noted after a fence.
    pub fn with_fate(&self, server: &str, fate: Fate, now: &Time) -> Option<Tombstone> {
        self.of(server).map(|entry| Tombstone { fate, time: now.clone(), ..entry.clone() })
    }
}

/// The revision of etcd at which the object was written, as its resource version says; 0 if it says none.
pub fn revision_of(server: &Server) -> u64 {
    server.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}
