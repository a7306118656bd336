//! Addresses that have proved lately that what is sent to them arrives where the request came from.
//!
//! TFTP's acknowledgements prove nothing: a stranger can count blocks as well as a client, and write any source address
//! into its packets. A TCP connection does prove it, as its sequence numbers cannot be guessed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::recent::Recent;

/// How long a proof lasts: from a machine's loader to its next boot, if it is soon.
const LASTS: Duration = Duration::from_mins(10);
/// Addresses remembered. A machine that is forgotten gets small windows, which is what firmware asks for.
const MAX_ADDRESSES: usize = 8192;

/// The addresses. Clones share their memory.
#[derive(Debug, Clone)]
pub struct ReturnPaths(Arc<Mutex<Recent<Ipv4Addr>>>);

impl Default for ReturnPaths {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Recent::new(MAX_ADDRESSES, LASTS))))
    }
}

impl ReturnPaths {
    /// A TCP connection of this address stands.
    pub fn prove(&self, address: IpAddr) {
        self.prove_at(address, Instant::now());
    }

    /// Whether the address has proved itself, or needs no proof: nobody else can use this host's own.
    pub fn is_proven(&self, address: Ipv4Addr) -> bool {
        self.is_proven_at(address, Instant::now())
    }

    fn prove_at(&self, address: IpAddr, now: Instant) {
        if let IpAddr::V4(address) = address.to_canonical() {
            self.0.lock().note(address, now);
        }
    }

    fn is_proven_at(&self, address: Ipv4Addr, now: Instant) -> bool {
        address.is_loopback() || self.0.lock().has(&address, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_ends_and_a_flood_is_bounded() {
        let (paths, now) = (ReturnPaths::default(), Instant::now());
        let machine = Ipv4Addr::new(10, 0, 0, 1);
        assert!(!paths.is_proven_at(machine, now) && paths.is_proven_at(Ipv4Addr::LOCALHOST, now));
        paths.prove_at("::ffff:10.0.0.1".parse().unwrap(), now);
        paths.prove_at("fd00::1".parse().unwrap(), now);
        assert!(paths.is_proven_at(machine, now));
        assert!(!paths.is_proven_at(machine, now + LASTS));
        for number in 0..20_000_u32 {
            paths.prove_at(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number)), now);
        }
        assert!(paths.is_proven_at(Ipv4Addr::from_bits(0x0b00_0000), now));
        assert!(!paths.is_proven_at(Ipv4Addr::from_bits(0x0b00_0000 + 19_999), now), "not remembered");
        let other = Ipv4Addr::new(10, 0, 0, 2);
        paths.prove_at(other.into(), now + LASTS);
        assert!(paths.is_proven_at(other, now + LASTS));
    }
}
