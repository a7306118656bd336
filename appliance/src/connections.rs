//! How many connections there may be, in all and from one address, so that one host cannot take all.
//!
//! When all are taken, a newcomer displaces a connection of the network, and there of the address, that has the most:
//! a host with sixty addresses only ever displaces its own.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::limit::network;

/// All connections together. Each costs some 40 KiB while a TLS handshake is under way.
const MAX_CONNECTIONS: usize = 256;
/// From one address. Browsers open six.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 32;

#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    displaced: CancellationToken,
}

/// One open connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connections: Connections,
    number: u64,
    /// Cancelled when the connection has to make room.
    pub(crate) displaced: CancellationToken,
    /// Whether another connection had to make room for this one.
    pub(crate) displaces: bool,
}

impl Connections {
    /// A slot, unless the address has enough, or all are taken and nobody has more than it.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Slot> {
        let mut open = self.0.lock();
        if open.of_address(address) >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        let full = open.all.len() >= MAX_CONNECTIONS;
        if full {
            let victim = open.victim_for(address)?;
            if let Some(entry) = open.all.remove(&victim) {
                entry.displaced.cancel();
            }
        }
        let number = open.next;
        open.next += 1;
        let displaced = CancellationToken::new();
        open.all.insert(number, Entry { address, displaced: displaced.clone() });
        Some(Slot { connections: self.clone(), number, displaced, displaces: full })
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.0.lock().all.len()
    }
}

impl Open {
    fn of_address(&self, address: IpAddr) -> usize {
        self.all.values().filter(|entry| entry.address == address).count()
    }

    /// The oldest connection of the address with the most connections in the network with the most; none if the
    /// newcomer would only take from somebody with no more than it has itself.
    fn victim_for(&self, newcomer: IpAddr) -> Option<u64> {
        let mut networks: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.all.values() {
            *networks.entry(network(entry.address)).or_default() += 1;
        }
        let own = networks.get(&network(newcomer)).copied().unwrap_or_default();
        let most = networks.values().copied().max()?;
        let loaded = |address: IpAddr| networks.get(&network(address)).copied() == Some(most);
        let mut addresses: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.all.values().filter(|entry| loaded(entry.address)) {
            *addresses.entry(entry.address).or_default() += 1;
        }
        let (victim, count) = addresses.into_iter().max_by_key(|(_, count)| *count)?;
        if own >= most && count <= self.of_address(newcomer) {
            return None;
        }
        let of_victim = self.all.iter().filter(|(_, entry)| entry.address == victim);
        of_victim.map(|(number, _)| *number).min()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.0.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn one_address_cannot_take_all_and_gets_its_slots_back() {
        let connections = Connections::default();
        let slots: Vec<_> = std::iter::from_fn(|| connections.admit(address(1))).collect();
        assert_eq!(slots.len(), MAX_CONNECTIONS_PER_ADDRESS);
        assert!(connections.admit(address(2)).is_some());
        drop(slots);
        assert_eq!(connections.open(), 0);
        assert!(connections.admit(address(1)).is_some());
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let connections = Connections::default();
        let slots: Vec<_> = (0..1000).filter_map(|number| connections.admit(address(number << 8))).collect();
        assert_eq!(connections.open(), MAX_CONNECTIONS);
        drop(slots);
        assert_eq!(connections.open(), 0);
    }

    #[test]
    fn a_host_with_sixty_addresses_keeps_nobody_out() {
        type Host = (&'static str, fn(usize) -> IpAddr, IpAddr);
        let hosts: [Host; 3] = [
            ("another network", |n| address(0x0a00_0000 + n % 60), address(0x0b00_0001)),
            ("the same network", |n| address(0x0a00_0000 + n % 60), address(0x0a00_00ff)),
            (
                "the same IPv6 network",
                |n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(n % 60).unwrap()).into(),
                "2001:db8::ffff".parse().unwrap(),
            ),
        ];
        for (place, attacker, admin) in hosts {
            let connections = Connections::default();
            let mut slots: Vec<Slot> =
                (0..2000).filter_map(|number| connections.admit(attacker(number))).collect();
            let admins = connections.admit(admin).unwrap_or_else(|| panic!("refused from {place}"));
            slots.extend((0..2000).filter_map(|number| connections.admit(attacker(number))));
            assert!(!admins.displaced.is_cancelled(), "displaced from {place}");
            assert_eq!(connections.open(), MAX_CONNECTIONS);
            assert!(slots.iter().any(|slot| slot.displaced.is_cancelled()));
        }
    }
}
