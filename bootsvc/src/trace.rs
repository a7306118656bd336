//! What each machine did on its way to a running system, and where it stopped: one list of steps
//! for each machine, put together from DHCP, TFTP, HTTP and the agent's calls.
//!
//! In memory and bounded; the steps before a restart are gone. It decides nothing, and no service
//! waits for it longer than for a lock.

pub mod step;
pub mod store;
pub mod verdict;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bloomery_hostnet::MacAddr;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

pub use step::{Decided, FileKind, Moment, Step, Via};
pub use store::{Identity, SystemUuid};

use store::Store;

/// Longest text kept of a decision.
const MAX_TEXT: usize = 200;

/// The record of all machines; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Store>>);

impl Trace {
    /// A booting machine looks for a server.
    pub fn discover(&self, who: Identity) {
        self.add(who, Step::Discover, "");
    }

    /// It was named a file.
    pub fn offer(&self, who: Identity, via: Option<Via>, file: &'static str) {
        self.add(who, Step::Offer(via), file);
    }

    /// It was named a file on port 4011.
    pub fn acknowledged(&self, who: Identity, via: Option<Via>, file: &'static str) {
        self.add(who, Step::Ack(via), file);
    }

    /// It was not answered.
    pub fn silent(&self, who: Identity, reason: &'static str) {
        self.add(who, Step::Silent, reason);
    }

    /// It asked the site's DHCP server for this address, so what comes from there is its doing.
    pub fn address(&self, mac: MacAddr, address: IpAddr) {
        let who = Identity { mac: Some(mac), address: Some(address), ..Identity::default() };
        self.0.lock().join(&who, Instant::now());
    }

    /// A loader was asked for, or its transfer came to an end.
    pub fn loader(&self, peer: IpAddr, via: Via, name: &'static str, moment: Moment) {
        self.add(Identity::at(peer), Step::Loader(via, moment), name);
    }

    /// iPXE has the boot script.
    pub fn script(&self, peer: IpAddr) {
        self.add(Identity::at(peer), Step::Script, "");
    }

    /// A machine was told what to boot; `text` says why.
    pub fn decision(
        &self,
        uuid: Option<&str>,
        mac: Option<&str>,
        peer: IpAddr,
        decided: Decided,
        text: &str,
    ) {
        let who = Identity {
            mac: mac.and_then(|mac| mac.parse().ok()),
            uuid: uuid.and_then(SystemUuid::parse),
            address: Some(peer),
        };
        let text: String = text.chars().take(MAX_TEXT).collect();
        self.add(who, Step::Decision(decided), text);
    }

    /// A kernel or initramfs was asked for, or its download came to an end.
    pub fn file(&self, peer: IpAddr, kind: FileKind, moment: Moment) {
        self.add(Identity::at(peer), Step::File(kind, moment), "");
    }

    /// A machine that may have its configuration asked for it.
    pub fn configuration(&self, uuid: &str, peer: IpAddr, was_there: bool) {
        let who = Identity { mac: None, uuid: SystemUuid::parse(uuid), address: Some(peer) };
        self.add(who, Step::Configuration(was_there), "");
    }

    /// The agent of a machine called.
    pub fn agent_hello(&self, uuid: &str, peer: IpAddr) {
        let who = Identity { mac: None, uuid: SystemUuid::parse(uuid), address: Some(peer) };
        self.add(who, Step::AgentHello, "");
    }

    /// All machines as JSON, the one seen last first.
    pub fn report(&self) -> serde_json::Value {
        let (now, wall) = (Instant::now(), Timestamp::now());
        self.0.lock().report(now, wall)
    }

    fn add(&self, who: Identity, step: Step, detail: impl Into<Cow<'static, str>>) {
        self.0.lock().add(&who, step, detail.into(), Instant::now());
    }
}
