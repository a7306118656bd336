//! What nodes answer, without what nobody reads.

use crate::proto::machine::{EtcdMember, ServiceInfo};

/// A service of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name, such as `etcd`.
    pub id: String,
    /// Its state, such as `Running` or `Finished`.
    pub state: String,
    /// State of its last event; empty if it had none.
    pub last_event: String,
    /// Whether it is healthy; `None` while nobody knows.
    pub healthy: Option<bool>,
    /// What its last check of health said.
    pub message: String,
}

/// A member of etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its host name; empty until it has started for the first time.
    pub hostname: String,
    /// Whether it has no vote yet.
    pub is_learner: bool,
}

impl From<ServiceInfo> for Service {
    fn from(info: ServiceInfo) -> Self {
        let ServiceInfo { id, state, events, health } = info;
        let last = events.and_then(|events| events.events.into_iter().next_back());
        let health = health.unwrap_or_default();
        // A message without health says nothing about it.
        let healthy = (!health.unknown).then_some(health.healthy);
        Self {
            id,
            state,
            last_event: last.map(|event| event.state).unwrap_or_default(),
            healthy,
            message: health.last_message,
        }
    }
}

impl From<EtcdMember> for Member {
    fn from(member: EtcdMember) -> Self {
        let EtcdMember { id, hostname, peer_urls: _, client_urls: _, is_learner } = member;
        Self { id, hostname, is_learner }
    }
}
