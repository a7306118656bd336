//! What one node and all nodes together may take: connections, and a rate.
//!
//! A node that asks for more waits, or loses its oldest connection; the others notice nothing of it.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many connections there may be. Clones share their count.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    each: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Of each node, oldest first.
    open: HashMap<Ipv6Addr, Vec<(u64, CancellationToken)>>,
    count: usize,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    node: Ipv6Addr,
    number: u64,
    /// Its place was given to a newer connection of the same node, which may have restarted.
    pub evicted: CancellationToken,
}

impl Admission {
    /// So many in all, and of one node.
    pub fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Shared { all, each, state: Mutex::default() }))
    }

    /// A place for a connection of a node. Its oldest one gives way; others' never do.
    pub fn admit(&self, node: Ipv6Addr) -> Option<Slot> {
        let Shared { all, each, state } = &*self.0;
        let mut state = state.lock();
        let own = state.open.get(&node).map_or(0, Vec::len);
        if own < *each && state.count >= *all || *each == 0 {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let evicted = CancellationToken::new();
        let open = state.open.entry(node).or_default();
        let oldest = (own >= *each).then(|| open.remove(0));
        open.push((number, evicted.clone()));
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        } else {
            state.count += 1;
        }
        Some(Slot { shared: Arc::clone(&self.0), node, number, evicted })
    }

    /// Connections that have a place.
    pub fn count(&self) -> usize {
        self.0.state.lock().count
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let Some(open) = state.open.get_mut(&self.node) else { return };
        let before = open.len();
        open.retain(|(number, _)| *number != self.number);
        let freed = before - open.len();
        if open.is_empty() {
            state.open.remove(&self.node);
        }
        state.count -= freed;
    }
}

/// How fast each node may go: a token bucket for each.
#[derive(Debug)]
pub struct Pace {
    each_second: u32,
    burst: u32,
    nodes: Mutex<HashMap<Ipv6Addr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Below zero: what was taken on credit.
    level: f64,
    at: Instant,
}

impl Pace {
    /// So much a second after a burst.
    pub fn new(each_second: u32, burst: u32) -> Self {
        Self { each_second, burst, nodes: Mutex::default() }
    }

    /// Takes so much, and waits until it may.
    pub async fn take(&self, node: Ipv6Addr, amount: usize) {
        let wait = self.charge(node, amount, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How long a node that takes so much now has to wait.
    fn charge(&self, node: Ipv6Addr, amount: usize, now: Instant) -> Duration {
        let (rate, burst) = (f64::from(self.each_second), f64::from(self.burst));
        let mut nodes = self.nodes.lock();
        // Those that have rested are as good as unknown.
        nodes.retain(|other, bucket| *other == node || bucket.refilled(rate, now) < burst);
        let bucket = nodes.entry(node).or_insert(Bucket { level: burst, at: now });
        let amount = f64::from(u32::try_from(amount).unwrap_or(u32::MAX));
        *bucket = Bucket { level: bucket.refilled(rate, now).min(burst) - amount, at: now };
        if bucket.level >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-bucket.level / rate) }
    }
}

impl Bucket {
    fn refilled(&self, rate: f64, now: Instant) -> f64 {
        self.level + now.saturating_duration_since(self.at).as_secs_f64() * rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 3, 0, 0, 0, number)
    }

    #[test]
    fn a_nodes_oldest_connection_gives_way_and_others_never_do() {
        let admission = Admission::new(5, 2);
        let first = admission.admit(node(1)).unwrap();
        let second = admission.admit(node(1)).unwrap();
        let third = admission.admit(node(1)).unwrap();
        assert!(
            first.evicted.is_cancelled() && !second.evicted.is_cancelled() && !third.evicted.is_cancelled()
        );
        assert_eq!(admission.count(), 2);
        // The place was freed when it was taken, not again now.
        drop(first);
        assert_eq!(admission.count(), 2);
        let others: Vec<Slot> = (2..5).map(|number| admission.admit(node(number)).unwrap()).collect();
        assert_eq!(admission.count(), 5);
        assert!(admission.admit(node(9)).is_none());
        assert!(admission.admit(node(2)).is_none(), "the second of a node, where all is full");
        let fourth = admission.admit(node(1)).unwrap();
        assert!(second.evicted.is_cancelled() && others.iter().all(|slot| !slot.evicted.is_cancelled()));
        drop((second, third, fourth, others));
        assert_eq!(admission.count(), 0);
        assert!(admission.0.state.lock().open.is_empty());
    }

    #[test]
    fn a_node_that_takes_too_much_waits_and_others_do_not() {
        let pace = Pace::new(100, 1000);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.charge(node(1), 1000, at(0)), Duration::ZERO);
        assert_eq!(pace.charge(node(1), 200, at(0)), Duration::from_secs(2));
        assert_eq!(pace.charge(node(2), 1000, at(0)), Duration::ZERO);
        assert_eq!(pace.charge(node(1), 0, at(1)), Duration::from_secs(1));
        assert_eq!(pace.charge(node(1), 100, at(3)), Duration::ZERO);
        // A rest gives the burst back and no more.
        assert_eq!(pace.charge(node(1), 1000, at(1000)), Duration::ZERO);
        assert_eq!(pace.charge(node(1), 100, at(1000)), Duration::from_secs(1));
        assert_eq!(pace.nodes.lock().len(), 1, "nodes that rested are forgotten");
    }
}
