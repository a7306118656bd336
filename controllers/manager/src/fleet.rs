//! All Servers side by side: which may be one machine, and which name one management controller.
//!
//! Kept from the one watch of Servers and the one of bindings, so that a change of one Server costs that one and not all.
//! Whoever a change concerns besides is told apart: those are reconciled too.
//! Never answers before both lists were complete: a conflict that is not known yet would be none.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use bloomery_api::decision::controllers::{Controllers, SharedController};
use bloomery_api::decision::identity::{Conflict, Index};
use bloomery_api::plane::Authority;
use bloomery_api::{Server, ServerSpec};
use bloomery_platform::watch::Change;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::watch::{GuardedServer, Servers};

/// What a Server has in common with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Whether another Server may be the same machine, or another machine showed its marks.
    pub conflict: Option<Conflict>,
    /// Whether others name its management controller.
    pub shared: Option<SharedController>,
}

/// All Servers. Clones share them.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    servers: Servers,
    state: Mutex<State>,
    concerned: UnboundedSender<String>,
}

#[derive(Default)]
struct State {
    /// Whether the first list of Servers was complete.
    is_listed: bool,
    bound: HashSet<String>,
    are_bindings_listed: bool,
    index: Index,
    controllers: Controllers,
    /// In whose light the records were read last; `None` before the first question.
    authority: Option<Authority>,
}

impl Fleet {
    /// Over the cache of all Servers; with it come the names of Servers that changes of others concern.
    pub fn new(servers: Servers) -> (Self, UnboundedReceiver<String>) {
        let (concerned, receiver) = unbounded_channel();
        (Self(Arc::new(Inner { servers, state: Mutex::default(), concerned })), receiver)
    }

    /// Sees what happened to a Server, once the cache has it. A malformed one stays what it was: its machine is there.
    pub fn see_server(&self, change: &Change<GuardedServer>) {
        let mut state = self.state();
        match change {
            Change::Listed => {
                state.is_listed = true;
                state.rebuild(&self.0.servers);
            }
            Change::Applied(server) => {
                if let Ok(server) = &server.0 {
                    self.tell(state.renew(&server.name_any(), Some(server)));
                }
            }
            Change::Deleted(server) => self.tell(state.renew(&server.name_any(), None)),
        }
    }

    /// Sees what happened to a binding, of which the name alone counts.
    pub fn see_binding<K: kube::Resource>(&self, change: &Change<K>) {
        let mut state = self.state();
        let name = match change {
            Change::Listed => {
                state.are_bindings_listed = true;
                state.rebuild(&self.0.servers);
                return;
            }
            Change::Applied(binding) => {
                let name = binding.name_any();
                if !state.bound.insert(name.clone()) {
                    return;
                }
                name
            }
            Change::Deleted(binding) => {
                let name = binding.name_any();
                state.bound.remove(&name);
                name
            }
        };
        if let Some(DeserializeGuard(Ok(server))) = self.0.servers.named(&name).as_deref() {
            self.tell(state.renew(&name, Some(server)));
        }
    }

    /// What this Server has in common with others; `None` while that cannot be told.
    pub fn judge(&self, server: &Server, authority: &Authority) -> Option<Judgement> {
        let mut state = self.state();
        if !state.is_listed || !state.are_bindings_listed {
            return None;
        }
        let is_other = state.authority.as_ref() != Some(authority);
        // The same by its word, with what the ledger has seen since.
        state.authority = Some(authority.clone());
        if is_other {
            state.rebuild(&self.0.servers);
        }
        Some(state.judgement(server))
    }

    /// Whether other Servers name the controller of this one, though a person may have declared that they share it.
    pub fn serves_several(&self, name: &str) -> bool {
        self.state().controllers.serves_several(name)
    }

    /// The names that Servers give for controllers instead of addresses.
    pub fn hosts(&self) -> BTreeSet<String> {
        self.state().controllers.hosts()
    }

    /// Notes the addresses of such a name; whoever names one of them is concerned.
    pub fn resolve(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let concerned = self.state().controllers.resolve(host, addresses);
        self.tell(concerned);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    fn tell(&self, concerned: BTreeSet<String>) {
        for name in concerned {
            // Fails only while everything ends.
            let _ = self.0.concerned.send(name);
        }
    }
}

impl State {
    fn rebuild(&mut self, servers: &Servers) {
        let Some(authority) = &self.authority else { return };
        let all = servers.known();
        let servers = || all.iter().filter_map(|server| server.0.as_ref().ok());
        self.index = Index::build(servers(), &self.bound, authority);
        self.controllers = Controllers::of(servers()).resolved_as(&self.controllers);
    }

    /// Brings one Server up to date; the others that this concerns.
    fn renew(&mut self, name: &str, server: Option<&Server>) -> BTreeSet<String> {
        let Some(authority) = self.authority.clone() else { return BTreeSet::new() };
        let before = self.concerned(name);
        if let Some(server) = server {
            self.index.set(server, self.bound.contains(name), &authority);
            self.controllers.set(server);
        } else {
            self.index.remove(name);
            self.controllers.remove(name);
            if let Some(ledger) = authority.trust().and_then(|trust| trust.ledger.as_deref()) {
                self.index.add_tombstones(ledger);
            }
        }
        let after = self.concerned(name);
        // Those that stay are told, too: what they share, or with whom, may be another.
        if before == after { BTreeSet::new() } else { before.0.union(&after.0).cloned().collect() }
    }

    /// The others that share something with the Server of that name, and what.
    fn concerned(&self, name: &str) -> (BTreeSet<String>, Judgement) {
        let judgement = self.judgement(&Server::new(name, ServerSpec::default()));
        let peers = judgement.conflict.iter().flat_map(|conflict| &conflict.peers);
        let names = peers.filter(|peer| !peer.is_tombstone).map(|peer| peer.server.clone());
        let others = judgement.shared.iter().flat_map(|shared| shared.others.clone());
        (names.chain(others).collect(), judgement)
    }

    fn judgement(&self, server: &Server) -> Judgement {
        Judgement {
            conflict: Conflict::of(server, &self.index),
            shared: self.controllers.shared(&server.name_any()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bloomery_api::trust::{SigningKey, Trust};
    use bloomery_platform::watch::Feed;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn holds(epoch: i64) -> Authority {
        Authority::Holds { epoch, trust: Trust::new(SigningKey::new([7; 32]), "own") }
    }

    fn server(name: &str, card: &str, bmc: &str) -> Server {
        serde_json::from_value(json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": name },
            "spec": { "accepted": true, "bmc": { "endpoint": bmc },
                "hardware": { "network": { "interfaces": [{ "mac": card }] } } },
        }))
        .unwrap()
    }

    fn guarded(server: &Server) -> GuardedServer {
        DeserializeGuard(Ok(server.clone()))
    }

    const A: &str = "4c4c4544-0042-3510-8054-b4c04f565831";
    const B: &str = "4c4c4544-0044-5a10-8054-b4c04f565831";
    const CARD: &str = "52:54:00:00:00:01";

    /// The fleet behind its cache, as the watch fills both.
    struct Bench {
        fleet: Fleet,
        servers: Feed<GuardedServer>,
        concerned: UnboundedReceiver<String>,
    }

    impl Bench {
        fn new() -> Self {
            let mut servers = Feed::default();
            let (fleet, concerned) = Fleet::new(servers.cache());
            let seeing = fleet.clone();
            servers.observe(move |change| seeing.see_server(change));
            Self { fleet, servers, concerned }
        }

        fn listed(servers: &[Server]) -> Self {
            let mut bench = Self::new();
            bench.see(Event::Init);
            for server in servers {
                bench.see(Event::InitApply(guarded(server)));
            }
            bench.see(Event::InitDone);
            bench.fleet.see_binding::<Server>(&Change::Listed);
            bench
        }

        fn see(&mut self, event: Event<GuardedServer>) {
            self.servers.see(event);
        }

        fn told(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.concerned.try_recv().ok()).collect()
        }
    }

    #[test]
    fn nothing_is_told_before_both_lists_are_complete() {
        let mut bench = Bench::new();
        let a = server(A, CARD, "10.0.0.5");
        assert_eq!(bench.fleet.judge(&a, &holds(1)), None);
        for event in [Event::Init, Event::InitApply(guarded(&a)), Event::InitDone] {
            bench.see(event);
        }
        assert_eq!(bench.fleet.judge(&a, &holds(1)), None, "who is bound is not known");
        bench.fleet.see_binding::<Server>(&Change::Listed);
        assert_eq!(bench.fleet.judge(&a, &holds(1)), Some(Judgement::default()));
    }

    #[test]
    fn a_second_server_with_a_card_or_controller_concerns_the_first() {
        let a = server(A, CARD, "10.0.0.5");
        let mut bench = Bench::listed(std::slice::from_ref(&a));
        bench.fleet.judge(&a, &holds(1)).unwrap();
        let b = server(B, CARD, "10.0.0.6");
        bench.see(Event::Apply(guarded(&b)));
        assert_eq!(bench.told(), [A]);
        for (one, other) in [(&a, B), (&b, A)] {
            let judged = bench.fleet.judge(one, &holds(1)).unwrap();
            assert_eq!(judged.conflict.as_ref().unwrap().peers[0].server, other);
            assert!(judged.conflict.unwrap().holds() && judged.shared.is_none());
        }
        // The same again concerns nobody; another controller does, and so does the end.
        bench.see(Event::Apply(guarded(&b)));
        assert!(bench.told().is_empty());
        let b = server(B, "52:54:00:00:00:02", "10.0.0.5");
        bench.see(Event::Apply(guarded(&b)));
        assert_eq!(bench.told(), [A]);
        let judged = bench.fleet.judge(&a, &holds(1)).unwrap();
        assert_eq!((judged.conflict, judged.shared.unwrap().others), (None, vec![B.to_owned()]));
        bench.see(Event::Delete(guarded(&b)));
        assert_eq!(bench.told(), [A]);
        assert_eq!(bench.fleet.judge(&a, &holds(1)), Some(Judgement::default()));
    }

    #[test]
    fn a_controllers_name_that_becomes_anothers_address_concerns_both() {
        let (a, b) = (server(A, CARD, "bmc.example"), server(B, "52:54:00:00:00:02", "10.0.0.5"));
        let mut bench = Bench::listed(&[a.clone(), b]);
        assert_eq!(bench.fleet.judge(&a, &holds(1)).unwrap().shared, None);
        assert!(bench.fleet.hosts().contains("bmc.example") && !bench.fleet.serves_several(A));
        bench.fleet.resolve("bmc.example", ["10.0.0.5".parse().unwrap()]);
        let mut told = bench.told();
        told.sort();
        assert_eq!(told, [A, B]);
        assert_eq!(bench.fleet.judge(&a, &holds(1)).unwrap().shared.unwrap().others, [B]);
        // Another authority reads everything anew, but not the names.
        assert!(bench.fleet.judge(&a, &holds(2)).unwrap().shared.is_some());
        assert!(bench.fleet.serves_several(A));
    }

    #[test]
    fn another_authority_reads_everything_anew_and_a_malformed_server_stays_what_it_was() {
        let (a, b) = (server(A, CARD, "10.0.0.5"), server(B, CARD, "10.0.0.6"));
        let mut bench = Bench::listed(&[a.clone(), b]);
        for authority in [holds(1), Authority::Unknown, holds(2)] {
            assert!(bench.fleet.judge(&a, &authority).unwrap().conflict.is_some(), "{authority:?}");
        }
        let malformed: GuardedServer = serde_json::from_value(json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": B },
            "spec": { "accepted": "perhaps" },
        }))
        .unwrap();
        assert!(malformed.0.is_err());
        bench.see(Event::Apply(malformed));
        assert!(bench.fleet.judge(&a, &holds(2)).unwrap().conflict.is_some());
    }
}
