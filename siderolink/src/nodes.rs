//! Which node speaks: ServerBindings by the addresses of their ends of the tunnel.
//!
//! It must never fall behind what this program wrote itself: a node whose key was just stored is let in at once, whatever
//! the watch has told so far.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use bloomery_api::ServerBinding;
use bloomery_api::siderolink::Network;
use bloomery_api::siderolink::peers::{self, Key};
use parking_lot::Mutex;
use tokio::sync::watch;

/// All bindings. Clones share them.
#[derive(Debug, Clone)]
pub struct Nodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    bindings: HashMap<String, Arc<ServerBinding>>,
    listed: bool,
    network: Option<Network>,
    peers: Arc<BTreeMap<Key, (String, Ipv6Addr)>>,
    by_address: HashMap<Ipv6Addr, String>,
}

impl State {
    fn rebuild(&mut self) {
        let links = self
            .bindings
            .iter()
            .filter_map(|(name, binding)| Some((name.as_str(), binding.spec.siderolink.as_ref()?)));
        let peers = self.network.map(|network| peers::peers(network, links)).unwrap_or_default();
        self.by_address = peers.values().map(|(name, address)| (*address, name.clone())).collect();
        self.peers = Arc::new(peers);
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: watch::channel(0).0 }))
    }
}

impl Nodes {
    /// Says which network counts.
    pub fn set_network(&self, network: Network) {
        let mut state = self.0.state.lock();
        if state.network != Some(network) {
            state.network = Some(network);
            state.rebuild();
        }
    }

    /// Notes how a binding is; an older version than the known one changes nothing.
    pub fn note(&self, binding: Arc<ServerBinding>) {
        let name = binding.metadata.name.clone().unwrap_or_default();
        let mut state = self.0.state.lock();
        let known = state.bindings.get(&name);
        if known.is_some_and(|known| is_older(&binding, known)) {
            return;
        }
        let is_same = known.is_some_and(|known| known.spec.siderolink == binding.spec.siderolink);
        state.bindings.insert(name, binding);
        if !is_same {
            state.rebuild();
            drop(state);
            self.wake();
        }
    }

    /// Notes that a binding is gone; its successor of the same name is not.
    pub fn forget(&self, binding: &ServerBinding) {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let mut state = self.0.state.lock();
        let is_that = |known: &Arc<ServerBinding>| known.metadata.uid == binding.metadata.uid;
        if state.bindings.get(name).is_some_and(is_that) {
            state.bindings.remove(name);
            state.rebuild();
            drop(state);
            self.wake();
        }
    }

    /// Says that all bindings were told.
    pub fn set_listed(&self) {
        self.0.state.lock().listed = true;
        self.wake();
    }

    /// Whether all bindings are known: before that there seem to be fewer peers than there are.
    pub fn is_listed(&self) -> bool {
        self.0.state.lock().listed
    }

    /// Told whenever peers change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The peers: name and address by key.
    pub fn peers(&self) -> Arc<BTreeMap<Key, (String, Ipv6Addr)>> {
        Arc::clone(&self.0.state.lock().peers)
    }

    /// The binding of the node that speaks from this address.
    pub fn at(&self, address: Ipv6Addr) -> Option<Arc<ServerBinding>> {
        let state = self.0.state.lock();
        state.bindings.get(state.by_address.get(&address)?).cloned()
    }

    /// The binding of this name, as far as it is known.
    pub fn named(&self, name: &str) -> Option<Arc<ServerBinding>> {
        self.0.state.lock().bindings.get(name).cloned()
    }

    fn wake(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }
}

fn is_older(new: &ServerBinding, known: &ServerBinding) -> bool {
    let version = |binding: &ServerBinding| binding.metadata.resource_version.as_deref()?.parse::<u64>().ok();
    new.metadata.uid == known.metadata.uid
        && version(new).zip(version(known)).is_some_and(|(new, known)| new < known)
}

#[cfg(test)]
mod tests {
    use bloomery_api::server_binding::{ServerBindingSpec, SideroLink};
    use bloomery_api::siderolink::key_text;

    use super::*;

    fn binding(name: &str, uid: &str, version: u64, link: Option<(&str, u8)>) -> Arc<ServerBinding> {
        let siderolink = link.map(|(host, key)| SideroLink {
            address: format!("fd1a:417e:7824:ca03::{host}/64"),
            public_key: key_text(&[key; 32]),
        });
        let mut binding =
            ServerBinding::new(name, ServerBindingSpec { siderolink, ..ServerBindingSpec::default() });
        binding.metadata.uid = Some(uid.to_owned());
        binding.metadata.resource_version = Some(version.to_string());
        Arc::new(binding)
    }

    fn address(host: &str) -> Ipv6Addr {
        format!("fd1a:417e:7824:ca03::{host}").parse().unwrap()
    }

    #[test]
    fn a_node_is_known_by_its_address_until_its_binding_goes() {
        let nodes = Nodes::default();
        let mut changes = nodes.changes();
        nodes.note(binding("a", "1", 5, Some(("9", 1))));
        assert!(nodes.at(address("9")).is_none(), "no network yet");
        nodes.set_network(Network::of_installation("test-installation"));
        let name = |host| nodes.at(address(host)).and_then(|binding| binding.metadata.name.clone());
        assert_eq!(name("9").as_deref(), Some("a"));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        // Older news, as a watch tells them after a write of this program.
        nodes.note(binding("a", "1", 4, None));
        assert_eq!(name("9").as_deref(), Some("a"));
        // News of something else.
        nodes.note(binding("a", "1", 6, Some(("9", 1))));
        assert!(!changes.has_changed().unwrap());
        // Another key.
        nodes.note(binding("a", "1", 7, Some(("9", 2))));
        assert!(changes.has_changed().unwrap());
        assert_eq!(nodes.peers().keys().collect::<Vec<_>>(), [&[2; 32]]);
        // The end of a former binding of that name is not the end of this one.
        nodes.note(binding("a", "2", 9, Some(("a", 3))));
        nodes.forget(&binding("a", "1", 8, None));
        assert_eq!((name("a").as_deref(), name("9")), (Some("a"), None));
        nodes.forget(&binding("a", "2", 12, None));
        assert_eq!(name("a"), None);
        assert!(nodes.peers().is_empty());
    }
}
