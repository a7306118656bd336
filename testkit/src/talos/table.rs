//! The state behind all nodes of a cluster.

use std::collections::BTreeMap;

use tonic::{Code, Status};

/// A call that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Name of the node that was called.
    pub node: String,
    /// Name of the call.
    pub name: &'static str,
    /// Number of the member that it is about, else 0.
    pub member: u64,
}

/// What etcd does on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Etcd {
    /// It waits to be let into one, or to be told to make one.
    #[default]
    Waiting,
    /// It is a member.
    Running,
    /// It left.
    Finished,
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its number.
    pub id: u64,
    /// The name that it shows: empty before its first start.
    pub hostname: String,
    /// Whether it has no vote yet.
    pub is_learner: bool,
    /// Name of the node that it runs on, also while that is off.
    pub(super) node: String,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a test may want of a node")]
pub(super) struct Node {
    pub(super) etcd: Etcd,
    pub(super) is_on: bool,
    pub(super) is_sick: bool,
    pub(super) is_booting: bool,
    pub(super) has_data: bool,
    pub(super) refuses_leave: bool,
    pub(super) refused_bootstrap: Option<Code>,
}

#[derive(Default)]
pub(super) struct Table {
    nodes: BTreeMap<String, Node>,
    members: Vec<EtcdMember>,
    last: u64,
    shouts: bool,
    calls: Vec<Call>,
    faults: Vec<String>,
}

impl Table {
    pub(super) fn boot(&mut self, hostname: &str) {
        let node = self.nodes.entry(hostname.to_owned()).or_default();
        node.is_on = true;
    }

    pub(super) fn turn_off(&mut self, hostname: &str) {
        self.node(hostname).is_on = false;
    }

    pub(super) fn node(&mut self, hostname: &str) -> &mut Node {
        self.nodes.entry(hostname.to_owned()).or_default()
    }

    pub(super) fn known(&self, hostname: &str) -> Result<&Node, Status> {
        let node = self.nodes.get(hostname).filter(|node| node.is_on);
        node.ok_or_else(|| Status::unavailable("the node is off"))
    }

    pub(super) fn members(&self) -> Vec<EtcdMember> {
        self.members.clone()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.faults.clone()
    }

    pub(super) fn shout(&mut self) {
        self.shouts = true;
        for member in &mut self.members {
            member.hostname = member.hostname.to_uppercase();
        }
    }

    pub(super) fn add_stray(&mut self, hostname: &str) -> u64 {
        self.last += 1;
        let node = format!("lost {hostname}");
        self.members.push(EtcdMember {
            id: self.last,
            hostname: hostname.to_owned(),
            is_learner: false,
            node,
        });
        self.last
    }

    pub(super) fn own_member(&self, hostname: &str) -> Option<u64> {
        self.members.iter().find(|one| one.node == hostname).map(|one| one.id)
    }

    pub(super) fn votes(&self, hostname: &str) -> bool {
        let is_member = self.members.iter().any(|one| one.node == hostname && !one.is_learner);
        is_member && self.nodes.get(hostname).is_some_and(|node| node.is_on && node.etcd == Etcd::Running)
    }

    /// Voters that can agree, and how many must.
    fn quorum(&self) -> (usize, usize) {
        let voters = || self.members.iter().filter(|one| !one.is_learner);
        (voters().filter(|one| self.votes(&one.node)).count(), voters().count() / 2 + 1)
    }

    /// A change of the members needs a quorum.
    pub(super) fn agree(&self) -> Result<(), Status> {
        let (able, needed) = self.quorum();
        if able >= needed { Ok(()) } else { Err(Status::unavailable("etcdserver: no leader")) }
    }

    pub(super) fn settle(&mut self) {
        if self.members.is_empty() || self.agree().is_err() {
            return;
        }
        // A member that has started has its name, and a vote soon.
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let is_on = self.nodes.get(&member.node).is_some_and(|node| node.is_on);
            if member.is_learner && is_on {
                let shown = if self.shouts { member.node.to_uppercase() } else { member.node.clone() };
                let member = &mut self.members[index];
                if member.hostname.is_empty() {
                    member.hostname = shown;
                } else {
                    member.is_learner = false;
                    let name = member.node.clone();
                    self.node(&name).etcd = Etcd::Running;
                }
                return;
            }
        }
        // One learner at a time.
        let is_joining = self.members.iter().any(|one| one.is_learner);
        let next = self.nodes.iter().find(|(_, node)| node.is_on && node.etcd == Etcd::Waiting);
        if let (false, Some(name)) = (is_joining, next.map(|(name, _)| name.clone())) {
            self.last += 1;
            self.node(&name).has_data = true;
            self.members.push(EtcdMember {
                id: self.last,
                hostname: String::new(),
                is_learner: true,
                node: name,
            });
        }
    }

    pub(super) fn bootstrap(&mut self, hostname: &str) -> Result<(), Status> {
        self.record(hostname, "Bootstrap", 0);
        let node = self.node(hostname);
        if let Some(code) = node.refused_bootstrap {
            return Err(Status::new(code, "bootstrap is not available yet"));
        }
        if node.has_data {
            return Err(Status::already_exists("etcd data directory is not empty"));
        }
        if !self.members.is_empty() {
            self.faults.push(format!("{hostname} made a second etcd"));
        }
        self.last += 1;
        let shown = if self.shouts { hostname.to_uppercase() } else { hostname.to_owned() };
        let node = self.node(hostname);
        (node.etcd, node.has_data) = (Etcd::Running, true);
        let node = hostname.to_owned();
        self.members.push(EtcdMember { id: self.last, hostname: shown, is_learner: false, node });
        Ok(())
    }

    pub(super) fn remove(&mut self, caller: &str, id: u64) -> Result<(), Status> {
        self.record(caller, "EtcdRemoveMemberByID", id);
        self.agree()?;
        let found = self.members.iter().position(|one| one.id == id);
        let found = found.ok_or_else(|| Status::not_found("etcdserver: member not found"))?;
        if self.members[found].is_learner {
            self.faults.push(format!("the joining member {id} was removed"));
        }
        let gone = self.members.remove(found);
        if let Some(node) = self.nodes.get_mut(&gone.node) {
            node.etcd = Etcd::Finished;
        }
        self.judge(&format!("removal of {id}"));
        Ok(())
    }

    pub(super) fn leave(&mut self, hostname: &str) -> Result<(), Status> {
        self.record(hostname, "EtcdLeaveCluster", 0);
        if self.node(hostname).refuses_leave {
            return Err(Status::internal("failed to leave"));
        }
        self.agree()?;
        self.members.retain(|one| one.node != hostname);
        let node = self.node(hostname);
        (node.etcd, node.has_data) = (Etcd::Finished, false);
        self.judge(&format!("leave of {hostname}"));
        Ok(())
    }

    pub(super) fn record(&mut self, node: &str, name: &'static str, member: u64) {
        self.calls.push(Call { node: node.to_owned(), name, member });
    }

    /// After a change that was asked for there must be a quorum still.
    fn judge(&mut self, what: &str) {
        let (able, needed) = self.quorum();
        if able < needed {
            self.faults.push(format!("after the {what} {able} voters can agree, {needed} must"));
        }
    }
}
