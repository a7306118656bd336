//! How many connections there may be, in all and from one address, so that one client cannot take all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All connections together. Each costs some 40 KiB while a TLS handshake is under way.
const MAX_CONNECTIONS: usize = 256;
/// From one address. Browsers open six.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 32;

/// Counts open connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One open connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connections: Connections,
    address: IpAddr,
}

impl Connections {
    /// A slot, unless the address or all addresses together have enough.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Slot> {
        let mut counts = self.lock();
        let total: usize = counts.values().sum();
        let from_address = counts.get(&address).copied().unwrap_or_default();
        if total >= MAX_CONNECTIONS || from_address >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        counts.insert(address, from_address + 1);
        Some(Slot { connections: self.clone(), address })
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // The counts are whole after every statement, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        match counts.get(&self.address).copied() {
            Some(count) if count > 1 => counts.insert(self.address, count - 1),
            _ => counts.remove(&self.address),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

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
        let slots: Vec<_> = (0..1000).filter_map(|number| connections.admit(address(number))).collect();
        assert_eq!(slots.len(), MAX_CONNECTIONS);
    }
}
