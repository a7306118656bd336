//! The running transfers: so many in all, so many of one address.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::decide::File;
use super::link::Peer;
use super::transfer::{Step, Transfer};
use super::wire::{Mode, ReadRequest};

/// Transfers at once; beyond it clients are told to come again. Each costs a few hundred bytes.
const MAX_TRANSFERS: usize = 4096;
/// Those of one address: firmware has one, and perhaps two that it forgot. This host's own addresses may have all.
const MAX_PER_ADDRESS: usize = 16;
/// Those in netascii. No firmware asks for it, and each costs a copy of the file: a packet must not buy a megabyte four
/// thousand times.
const MAX_TEXT_TRANSFERS: usize = 32;

/// A running transfer and what it is of.
pub(super) struct Live {
    pub(super) transfer: Transfer,
    pub(super) request: ReadRequest,
    pub(super) file: File,
    pub(super) mtu: u32,
    pub(super) started: Instant,
}

/// All of them, by both their ends.
#[derive(Default)]
pub(super) struct Transfers {
    live: HashMap<Peer, Live>,
    of_address: HashMap<Ipv4Addr, usize>,
}

impl Transfers {
    pub(super) fn get(&self, peer: Peer) -> Option<&Live> {
        self.live.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: Peer) -> Option<&mut Live> {
        self.live.get_mut(&peer)
    }

    /// Whether one more of this peer, which has none, would be too many.
    pub(super) fn is_full(&self, peer: Peer, mode: Mode) -> bool {
        let address = *peer.0.ip();
        let of_address = self.of_address.get(&address).copied().unwrap_or_default();
        let texts = || self.live.values().filter(|live| live.request.mode == Mode::Netascii).count();
        self.live.len() >= MAX_TRANSFERS
            || of_address >= MAX_PER_ADDRESS && !address.is_loopback()
            || mode == Mode::Netascii && texts() >= MAX_TEXT_TRANSFERS
    }

    pub(super) fn insert(&mut self, peer: Peer, live: Live) {
        if self.live.insert(peer, live).is_none() {
            *self.of_address.entry(*peer.0.ip()).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, peer: Peer) -> Option<Live> {
        let live = self.live.remove(&peer)?;
        let address = *peer.0.ip();
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        Some(live)
    }

    /// What is due at `now`.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<(Peer, Step)> {
        self.live
            .iter_mut()
            .map(|(&peer, live)| (peer, live.transfer.tick(now)))
            .filter(|(_, step)| *step != Step::Wait)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::transfer::Path;
    use super::super::wire::Options;
    use super::*;
    use bytes::Bytes;
    use std::net::SocketAddrV4;

    fn live() -> Live {
        let request =
            ReadRequest { path: "snp.efi".to_owned(), mode: Mode::Octet, options: Options::default() };
        let (started, path) = (Instant::now(), Path { mtu: 1500, is_proven: false });
        let (transfer, _) = Transfer::start(&request, Bytes::from_static(b"x"), path, started);
        Live { transfer, request, file: File::Script, mtu: 1500, started }
    }

    fn peer(last: u8, port: u16) -> Peer {
        (SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port), Ipv4Addr::new(10, 0, 0, 254))
    }

    #[test]
    fn an_address_gets_its_share_and_gives_it_back() {
        let mut transfers = Transfers::default();
        for port in 0..16 {
            assert!(!transfers.is_full(peer(1, port), Mode::Octet), "{port}");
            transfers.insert(peer(1, port), live());
        }
        assert!(transfers.is_full(peer(1, 99), Mode::Octet));
        assert!(!transfers.is_full(peer(2, 99), Mode::Octet));
        transfers.insert(peer(1, 3), live());
        assert!(transfers.remove(peer(1, 3)).is_some() && transfers.remove(peer(1, 3)).is_none());
        assert!(!transfers.is_full(peer(1, 99), Mode::Octet));
        for port in 0..16 {
            transfers.remove(peer(1, port));
        }
        assert!(transfers.of_address.is_empty());
    }

    #[test]
    fn all_together_are_bounded() {
        let mut transfers = Transfers::default();
        for number in 0..4096_u16 {
            transfers.insert(peer(u8::try_from(number >> 4 & 0xff).unwrap(), number), live());
        }
        assert!(transfers.is_full(peer(255, 1), Mode::Octet));
    }
}
