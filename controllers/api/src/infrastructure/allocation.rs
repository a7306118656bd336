//! Which Servers a MetalMachine may take, in which order.
//!
//! The create of a ServerBinding is the lock; here it is decided where to try. Each machine begins elsewhere, so that many
//! that look at the same time do not meet at the first Server.
//! Never a Server that is not known as accepted, clean and unbound; never the lists of a class's status, which are late.

use std::collections::{BTreeSet, HashSet};

use sha2::{Digest, Sha256};

use super::failure_domain::failure_domain;
use crate::evidence::{DiskRecord, DiskState};
use crate::plane::fence::is_moving;
use crate::server::Server;
use crate::server_class::matching::Membership;

/// Octets of the hash that the place to begin is made of.
const OFFSET_OCTETS: usize = 8;

/// Names of the Servers that may be free, kept from the watches of Servers and bindings.
#[derive(Debug, Default)]
pub struct Index {
    clean: BTreeSet<String>,
    bound: HashSet<String>,
    /// Those that this process tries to bind right now, or has bound and does not see bound yet.
    taken: HashSet<String>,
}

impl Index {
    /// Sees a Server as it is now; true if it may be free and was not known so.
    pub fn see_server(&mut self, server: &Server) -> bool {
        let name = server.metadata.name.clone().unwrap_or_default();
        if !looks_clean(server) {
            self.clean.remove(&name);
            return false;
        }
        let is_bound = self.bound.contains(&name);
        self.clean.insert(name) && !is_bound
    }

    /// A Server is gone or cannot be read: it is not free.
    pub fn forget_server(&mut self, name: &str) -> bool {
        self.clean.remove(name);
        false
    }

    /// Sees a binding.
    pub fn see_binding(&mut self, name: &str) {
        self.bound.insert(name.to_owned());
        self.taken.remove(name);
    }

    /// A binding is gone; true if its Server may be free.
    pub fn forget_binding(&mut self, name: &str) -> bool {
        self.bound.remove(name);
        self.taken.remove(name);
        self.clean.contains(name)
    }

    /// Names of those that may be free, sorted.
    pub fn free(&self) -> impl Iterator<Item = &str> {
        let is_free = |name: &&String| !self.bound.contains(*name) && !self.taken.contains(*name);
        self.clean.iter().filter(is_free).map(String::as_str)
    }

    /// Keeps a Server for one who is about to bind it; false if another has it.
    pub fn take(&mut self, name: &str) -> bool {
        !self.bound.contains(name) && self.taken.insert(name.to_owned())
    }

    /// Gives it back: it was not bound.
    pub fn give_back(&mut self, name: &str) {
        self.taken.remove(name);
    }

    /// Whether a binding has it, or somebody in this process is about to.
    pub fn is_taken(&self, name: &str) -> bool {
        self.bound.contains(name) || self.taken.contains(name)
    }
}

/// Whether a Server may be free as far as its own object says.
fn looks_clean(server: &Server) -> bool {
    let status = server.status.as_ref();
    server.spec.accepted
        && !server.spec.cordoned
        && server.metadata.deletion_timestamp.is_none()
        && !is_moving(&server.metadata)
        && status.is_some_and(|status| status.is_clean && !status.in_use)
        && DiskRecord::of(server).is_some_and(|record| record.state == DiskState::Clean)
}

/// Where a machine must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The failure domain; empty for anywhere.
    pub domain: &'a str,
    /// Key of the Servers' label with it; empty where the MetalCluster names none.
    pub label: &'a str,
}

impl Place<'_> {
    /// Whether a Server is there.
    pub fn admits(&self, server: &Server) -> bool {
        self.domain.is_empty() || failure_domain(server, self.label) == Some(self.domain)
    }
}

/// Of the Servers that may be free, in the order of their names, those that a machine may take, in the order in which it
/// tries them. `machine` is its namespace and name.
pub fn candidates<'s>(
    free: impl IntoIterator<Item = &'s Server>,
    class: &Membership<'_>,
    place: Place<'_>,
    machine: (&str, &str),
) -> Vec<&'s Server> {
    let admits = |server: &&Server| class.admits(server) && place.admits(server);
    let mut fitting: Vec<&Server> = free.into_iter().filter(admits).collect();
    let start = offset(machine, fitting.len());
    fitting.rotate_left(start);
    fitting
}

/// Where a machine begins among so many.
fn offset((namespace, name): (&str, &str), count: usize) -> usize {
    let digest = Sha256::digest(format!("{namespace}/{name}"));
    let head: [u8; OFFSET_OCTETS] = std::array::from_fn(|index| digest[index]);
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    usize::try_from(u64::from_be_bytes(head) % count).unwrap_or(0)
}

/// Why there is no Server to take: the members of the class by what keeps them away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    bound: usize,
    not_clean: usize,
    elsewhere: usize,
    free: usize,
}

impl Shortage {
    /// Counts the members of the class among all Servers.
    pub fn of<'a>(
        servers: impl IntoIterator<Item = &'a Server>,
        class: &Membership<'_>,
        place: Place<'_>,
        is_taken: impl Fn(&str) -> bool,
    ) -> Self {
        let mut shortage = Self::default();
        for server in servers.into_iter().filter(|server| class.admits(server)) {
            let name = server.metadata.name.as_deref().unwrap_or_default();
            let in_use = server.status.as_ref().is_some_and(|status| status.in_use);
            let count = if is_taken(name) || in_use {
                &mut shortage.bound
            } else if !place.admits(server) {
                &mut shortage.elsewhere
            } else if !looks_clean(server) {
                &mut shortage.not_clean
            } else {
                &mut shortage.free
            };
            *count += 1;
        }
        shortage
    }

    /// A sentence for the condition.
    pub fn message(&self, class: &str, place: Place<'_>) -> String {
        let Self { bound, not_clean, elsewhere, free } = *self;
        if bound + not_clean + elsewhere + free == 0 {
            return format!("ServerClass {class} has no accepted Server");
        }
        let mut parts = Vec::new();
        for (count, what) in
            [(bound, "in use"), (not_clean, "not clean yet"), (free, "not to be had at this moment")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if elsewhere > 0 {
            let named = if place.label.is_empty() {
                "the MetalCluster names no label for failure domains".to_owned()
            } else {
                format!("label {}", place.label)
            };
            parts.push(format!("{elsewhere} not in failure domain {} ({named})", place.domain));
        }
        format!("no Server of ServerClass {class} is free: {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests;
