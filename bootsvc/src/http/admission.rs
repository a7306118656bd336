//! Which connections are let in: so many of one address, so many in all, fewer than there are descriptors.
//!
//! When the house is full, the connection that has waited longest for its client to ask something is closed for the
//! new one: half-open connections keep no machine out. Pure but for the limit of descriptors that is read at the start.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use super::pulse::Pulse;
use crate::connection::network_of;

/// Connections at once; each booting machine has one or two, so this is a thousand machines and their retries.
const MAX_CONNECTIONS: usize = 4096;
/// Connections of one IPv4 address.
const MAX_PER_ADDRESS: usize = 32;
/// Connections of one IPv6 network of 64 bits, of which one host can have all addresses.
const MAX_PER_NETWORK: usize = 256;
/// Descriptors kept back for the Kubernetes API, health, DHCP and TFTP sockets, and files that are looked at.
const KEPT_BACK: usize = 256;
/// A connection and the file that is sent over it.
const DESCRIPTORS_EACH: usize = 2;
/// What the soft limit is raised to where the hard one allows it.
const WANTED_DESCRIPTORS: u64 = 65_536;

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its address has as many as an address may have.
    Address,
    /// All are busy.
    Full,
}

#[derive(Debug, Clone)]
pub struct Admission(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    limit: usize,
    next: u64,
    open: HashMap<u64, Open>,
    of_origin: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Open {
    origin: IpAddr,
    pulse: Arc<Pulse>,
    evicted: CancellationToken,
}

/// A connection that is let in; it ends with the value.
#[derive(Debug)]
pub struct Slot {
    admission: Admission,
    id: u64,
    /// What the connection does.
    pub pulse: Arc<Pulse>,
    /// Cancelled when another one gets its place.
    pub evicted: CancellationToken,
}

impl Admission {
    /// As many as the descriptors of this process allow.
    pub fn for_this_process() -> Self {
        Self::new(limit(raise_descriptors()))
    }

    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        let table = Table { limit, next: 0, open: HashMap::new(), of_origin: HashMap::new() };
        Self(Arc::new(Mutex::new(table)))
    }

    /// Lets a connection of this client in.
    pub fn admit(&self, client: IpAddr) -> Result<Slot, Refused> {
        let (origin, most) = (network_of(client), most_of(client));
        let (pulse, evicted) = (Arc::new(Pulse::default()), CancellationToken::new());
        let mut table = self.0.lock();
        if table.of_origin.get(&origin).is_some_and(|count| *count >= most) {
            return Err(Refused::Address);
        }
        if table.open.len() >= table.limit {
            table.evict()?;
        }
        let id = table.next;
        table.next += 1;
        table.open.insert(id, Open { origin, pulse: pulse.clone(), evicted: evicted.clone() });
        *table.of_origin.entry(origin).or_default() += 1;
        Ok(Slot { admission: self.clone(), id, pulse, evicted })
    }
}

impl Table {
    fn evict(&mut self) -> Result<(), Refused> {
        let waiting = self.open.iter().filter_map(|(id, open)| Some((open.pulse.idle_since()?, *id)));
        let (_, longest) = waiting.min().ok_or(Refused::Full)?;
        if let Some(open) = self.remove(longest) {
            open.evicted.cancel();
        }
        Ok(())
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(count) = self.of_origin.get_mut(&open.origin) {
            *count -= 1;
            if *count == 0 {
                self.of_origin.remove(&open.origin);
            }
        }
        Some(open)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.0.lock().remove(self.id);
    }
}

/// How many connections a client's address may have.
fn most_of(client: IpAddr) -> usize {
    if client.to_canonical().is_ipv4() { MAX_PER_ADDRESS } else { MAX_PER_NETWORK }
}

/// Connections that so many descriptors allow.
fn limit(descriptors: u64) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let allowed = descriptors.saturating_sub(KEPT_BACK) / DESCRIPTORS_EACH;
    allowed.clamp(MAX_PER_ADDRESS, MAX_CONNECTIONS)
}

/// Raises the soft limit of descriptors as far as is useful; says what it is then.
fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    let (current, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = WANTED_DESCRIPTORS.min(hard);
    if current >= wanted {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, descriptors = current, "limit of open files not raised");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test]
    async fn an_address_gets_its_share_and_gives_it_back() {
        let admission = Admission::new(4096);
        let mut slots: Vec<Slot> = (0..32).map(|_| admission.admit(address(1)).unwrap()).collect();
        assert_eq!(admission.admit(address(1)).unwrap_err(), Refused::Address);
        // The same host in IPv4's other form.
        assert_eq!(admission.admit("::ffff:10.0.0.1".parse().unwrap()).unwrap_err(), Refused::Address);
        assert!(admission.admit(address(2)).is_ok());
        slots.pop();
        assert!(admission.admit(address(1)).is_ok());
        drop(slots);
        assert!({
            let table = admission.0.lock();
            table.open.is_empty() && table.of_origin.is_empty()
        });
    }

    #[tokio::test]
    async fn a_host_with_a_network_of_addresses_is_one_origin() {
        let admission = Admission::new(4096);
        let of = |last: u16| format!("fd00::1:{last:x}").parse().unwrap();
        let slots: Vec<Slot> = (0..256).map(|last| admission.admit(of(last)).unwrap()).collect();
        assert_eq!(admission.admit(of(999)).unwrap_err(), Refused::Address);
        assert!(admission.admit("fd00:0:0:1::1".parse().unwrap()).is_ok());
        drop(slots);
    }

    #[tokio::test]
    async fn a_full_house_closes_the_connection_that_has_waited_longest() {
        let admission = Admission::new(3);
        let oldest = admission.admit(address(1)).unwrap();
        let busy = oldest.pulse.begin(Duration::from_mins(1));
        let waits = admission.admit(address(2)).unwrap();
        let newest = admission.admit(address(3)).unwrap();
        let newcomer = admission.admit(address(4)).unwrap();
        assert!(waits.evicted.is_cancelled());
        assert!(!oldest.evicted.is_cancelled() && !newest.evicted.is_cancelled());
        drop(waits);
        // A connection that lost its place takes none from another.
        assert_eq!(admission.0.lock().open.len(), 3);
        let all: Vec<_> = [&newest, &newcomer].map(|slot| slot.pulse.begin(Duration::from_mins(1))).into();
        assert_eq!(admission.admit(address(5)).unwrap_err(), Refused::Full);
        drop((busy, all));
        assert!(admission.admit(address(5)).is_ok());
    }

    #[test]
    fn stays_below_the_descriptors_there_are() {
        assert_eq!(limit(1024), 384);
        assert_eq!(limit(65_536), 4096);
        assert_eq!(limit(100), 32);
        assert_eq!(limit(u64::MAX), 4096);
        // Connections, the files sent over them and what is kept back fit.
        assert!(limit(1024) * DESCRIPTORS_EACH + KEPT_BACK <= 1024);
    }
}
