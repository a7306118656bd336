//! Which nodes are let into the network: pure decisions on ServerBindings.
//!
//! Never lets two bindings have one address or one key: a node is told by the address that it speaks from.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::{Network, key, key_text, with_prefix};
use crate::server_binding::{ServerBinding, SideroLink};

/// A WireGuard public key.
pub type Key = [u8; 32];

/// Tries to find a free address before it is given up; a second one is needed once in 2^64 / nodes.
const TRIES: usize = 8;

/// The peers of all bindings: the name of the binding and its address, by key. Of two bindings that would have one
/// address or one key, the one whose name comes first has it.
pub fn peers<'a>(
    network: Network,
    bindings: impl IntoIterator<Item = (&'a str, &'a SideroLink)>,
) -> BTreeMap<Key, (String, Ipv6Addr)> {
    let mut sorted: Vec<_> = bindings.into_iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let mut peers: BTreeMap<Key, (String, Ipv6Addr)> = BTreeMap::new();
    let mut taken: Vec<Ipv6Addr> = Vec::new();
    for (name, link) in sorted {
        let Some((address, key)) = network.kept(&link.address).zip(key(&link.public_key)) else { continue };
        if !peers.contains_key(&key) && !taken.contains(&address) {
            taken.push(address);
            peers.insert(key, (name.to_owned(), address));
        }
    }
    peers
}

/// What is changed in the tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that have no address any more.
    pub removed: Vec<Key>,
    /// Keys with their addresses.
    pub set: Vec<(Key, Ipv6Addr)>,
}

impl Changes {
    /// From what is there to what is to be.
    pub fn between(now: &BTreeMap<Key, Ipv6Addr>, wanted: &BTreeMap<Key, Ipv6Addr>) -> Self {
        let removed = now.keys().filter(|key| !wanted.contains_key(*key)).copied().collect();
        let set = wanted.iter().filter(|(key, address)| now.get(*key) != Some(address));
        Self { removed, set: set.map(|(key, address)| (*key, *address)).collect() }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.set.is_empty()
    }
}

/// Why a node is not let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its key is none.
    #[error("error parsing Wireguard key: {0}")]
    Key(String),
    /// Another machine has that key.
    #[error("the key is another machine's")]
    KeyTaken,
    /// No address was found.
    #[error("no free address was found")]
    NoAddress,
}

/// The end of the tunnel that a binding gets for this key: the address stays, the key is the newest. `random` is asked
/// for an address, `taken` says which others have.
pub fn provision(
    binding: &ServerBinding,
    public_key: &str,
    network: Network,
    mut random: impl FnMut() -> [u8; 8],
    taken: &BTreeMap<Key, (String, Ipv6Addr)>,
) -> Result<SideroLink, Refusal> {
    let key = key(public_key).filter(|key| *key != [0; 32]);
    let key = key.ok_or_else(|| Refusal::Key(reason(public_key)))?;
    let name = binding.metadata.name.as_deref().unwrap_or_default();
    if taken.get(&key).is_some_and(|(owner, _)| owner != name) {
        return Err(Refusal::KeyTaken);
    }
    let is_taken = |address| taken.values().any(|(owner, other)| *other == address && owner != name);
    let kept = binding.spec.siderolink.as_ref().and_then(|link| network.kept(&link.address));
    let address = kept
        .filter(|address| !is_taken(*address))
        .or_else(|| (0..TRIES).find_map(|_| network.node(random(), is_taken)))
        .ok_or(Refusal::NoAddress)?;
    Ok(SideroLink { address: with_prefix(address), public_key: key_text(&key) })
}

fn reason(text: &str) -> String {
    match data_encoding::BASE64.decode(text.as_bytes()) {
        Ok(octets) if octets.len() == 32 => "it is all zeros".to_owned(),
        Ok(octets) => format!("incorrect key size: {}", octets.len()),
        Err(_) => "illegal base64 data".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server_binding::ServerBindingSpec;

    fn network() -> Network {
        Network::of_installation("test-installation")
    }

    fn link(host: &str, key: u8) -> SideroLink {
        SideroLink { address: format!("fd1a:417e:7824:ca03::{host}/64"), public_key: key_text(&[key; 32]) }
    }

    fn binding(name: &str, siderolink: Option<SideroLink>) -> ServerBinding {
        ServerBinding::new(name, ServerBindingSpec { siderolink, ..ServerBindingSpec::default() })
    }

    fn told(links: &[(&str, SideroLink)]) -> Vec<String> {
        let peers = peers(network(), links.iter().map(|(name, link)| (*name, link)));
        peers.iter().map(|(key, (name, address))| format!("{} {name} {address}", key[0])).collect()
    }

    #[test]
    fn no_two_bindings_share_an_address_or_a_key() {
        assert_eq!(
            told(&[("b", link("9", 1)), ("a", link("8", 2))]),
            ["1 b fd1a:417e:7824:ca03::9", "2 a fd1a:417e:7824:ca03::8"]
        );
        assert_eq!(told(&[("b", link("9", 1)), ("a", link("9", 2))]), ["2 a fd1a:417e:7824:ca03::9"]);
        assert_eq!(told(&[("b", link("9", 1)), ("a", link("8", 1))]), ["1 a fd1a:417e:7824:ca03::8"]);
        let bad = SideroLink { public_key: "x".to_owned(), ..link("9", 1) };
        let foreign = SideroLink { address: "fd00::9/64".to_owned(), ..link("9", 1) };
        assert!(told(&[("a", link("1", 1)), ("b", bad), ("c", foreign), ("d", link("", 4))]).is_empty());
    }

    #[test]
    fn changes_are_the_difference() {
        let at = |host: u8| network().node([0, 0, 0, 0, 0, 0, 0, host], |_| false).unwrap();
        let now = BTreeMap::from([([1; 32], at(10)), ([2; 32], at(11)), ([3; 32], at(12))]);
        let wanted = BTreeMap::from([([1; 32], at(10)), ([3; 32], at(13)), ([4; 32], at(11))]);
        let changes = Changes::between(&now, &wanted);
        assert_eq!(changes.removed, [[2; 32]]);
        assert_eq!(changes.set, [([3; 32], at(13)), ([4; 32], at(11))]);
        assert!(Changes::between(&now, &now).is_empty());
    }

    #[test]
    fn the_key_is_replaced_and_the_address_stays() {
        let free = || [0, 0, 0, 0, 0, 0, 0, 0x20];
        let others = peers(network(), [("other", &link("20", 7))]);
        let cases = [
            (None, key_text(&[1; 32]), Ok("fd1a:417e:7824:ca03::21/64")),
            (Some(link("9", 1)), key_text(&[2; 32]), Ok("fd1a:417e:7824:ca03::9/64")),
            (Some(link("9", 1)), key_text(&[1; 32]), Ok("fd1a:417e:7824:ca03::9/64")),
            // An address of another installation, of the plane, or that another binding has.
            (
                Some(SideroLink { address: "fd00::9/64".to_owned(), ..link("9", 1) }),
                key_text(&[2; 32]),
                Ok("fd1a:417e:7824:ca03::21/64"),
            ),
            (Some(link("1", 1)), key_text(&[2; 32]), Ok("fd1a:417e:7824:ca03::21/64")),
            (Some(link("20", 1)), key_text(&[2; 32]), Ok("fd1a:417e:7824:ca03::21/64")),
            (None, key_text(&[7; 32]), Err("the key is another machine's")),
            (None, key_text(&[0; 32]), Err("error parsing Wireguard key: it is all zeros")),
            (None, "AAAA".to_owned(), Err("error parsing Wireguard key: incorrect key size: 3")),
            (None, "%".to_owned(), Err("error parsing Wireguard key: illegal base64 data")),
            (None, String::new(), Err("error parsing Wireguard key: incorrect key size: 0")),
        ];
        for (before, key, expected) in cases {
            // The first address that chance gives is taken, the second is free.
            let mut octet = 0;
            let random = || {
                octet += 1;
                let mut random = free();
                random[7] += octet - 1;
                random
            };
            let found = provision(&binding("a", before.clone()), &key, network(), random, &others);
            let found = found.map(|link| (link.address, link.public_key)).map_err(|error| error.to_string());
            let expected = expected.map(|address| (address.to_owned(), key.clone())).map_err(str::to_owned);
            assert_eq!(found, expected, "{before:?} {key}");
        }
    }

    #[test]
    fn a_full_network_is_said() {
        let others = peers(network(), [("other", &link("20", 7))]);
        let random = || [0, 0, 0, 0, 0, 0, 0, 0x20];
        let found = provision(&binding("a", None), &key_text(&[1; 32]), network(), random, &others);
        assert_eq!(found, Err(Refusal::NoAddress));
    }

    proptest! {
        #[test]
        fn nobody_takes_the_place_of_another(hosts in proptest::collection::vec((2u8..12, 1u8..12), 0..12),
            host in 0u8..14, key in 0u8..14) {
            let links: Vec<(String, SideroLink)> = hosts.iter().enumerate()
                .map(|(number, (host, key))| (format!("m{number:02}"), link(&format!("{host:x}"), *key))).collect();
            let before = peers(network(), links.iter().map(|(name, link)| (name.as_str(), link)));
            let mine = binding("z", Some(link(&format!("{host:x}"), 1)));
            let mut next = 1u8;
            let random = || { next += 1; [0, 0, 0, 0, 0, 0, 0, next] };
            if let Ok(new) = provision(&mine, &key_text(&[key; 32]), network(), random, &before) {
                let all = links.iter().map(|(name, link)| (name.as_str(), link)).chain([("z", &new)]);
                let after = peers(network(), all);
                for (key, peer) in &before {
                    prop_assert_eq!(after.get(key), Some(peer));
                }
                prop_assert_eq!(after.len(), before.len() + 1);
            }
        }
    }
}
