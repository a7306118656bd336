//! Turns at the Kubernetes API: so many at once, known machines before strangers, and one address after the other.
//!
//! It must never hold more than its bounds, and never let one address stand before all others with everything it asks.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Longest wait for a turn. Clients wait 20 to 30 s for an answer: one that comes later is work for nobody.
const WITHIN: Duration = Duration::from_secs(15);
/// Questions that may wait in all, in each of the two lines: a hall of machines that is switched on at once.
const MAX_WAITING: usize = 4096;
/// Of one address. Machines behind a router that hides them have one address for all.
const MAX_OF_ADDRESS: usize = 64;
/// Of so many turns one is a stranger's while both wait: a hall of known machines must not keep a new one out for good.
const STRANGERS_EVERY: u32 = 8;

/// Which line a question stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Machines that have a Server.
    Known,
    /// All others.
    Strangers,
}

/// There was no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    /// Too many wait.
    #[error("failed to get a turn: too many machines ask at once")]
    Full,
    /// It did not come in time.
    #[error("failed to get a turn in time: too many machines ask at once")]
    Late,
}

/// The turns. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
    within: Duration,
}

#[derive(Debug)]
struct State {
    free: usize,
    known: Waiting,
    strangers: Waiting,
    /// Turns of known machines since the last of a stranger.
    passed: u32,
}

/// A turn; it ends with the value.
#[derive(Debug)]
pub struct Turn(Option<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.end();
        }
    }
}

/// One line: addresses take turns, each with what it asked first.
#[derive(Debug, Default)]
struct Waiting {
    of_address: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    order: VecDeque<IpAddr>,
    count: usize,
}

impl Waiting {
    fn push(&mut self, address: IpAddr, waiter: oneshot::Sender<Turn>) -> Result<(), NoTurn> {
        if self.count >= MAX_WAITING {
            self.forget_the_gone();
        }
        let own = self.of_address.entry(address).or_default();
        if own.len() >= MAX_OF_ADDRESS {
            let before = own.len();
            own.retain(|waiter| !waiter.is_closed());
            self.count -= before - own.len();
        }
        if self.count >= MAX_WAITING || (own.len() >= MAX_OF_ADDRESS && !address.is_loopback()) {
            if own.is_empty() {
                self.of_address.remove(&address);
            }
            return Err(NoTurn::Full);
        }
        if own.is_empty() {
            self.order.push_back(address);
        }
        own.push_back(waiter);
        self.count += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let address = self.order.pop_front()?;
        let own = self.of_address.get_mut(&address)?;
        let waiter = own.pop_front();
        if own.is_empty() {
            self.of_address.remove(&address);
        } else {
            self.order.push_back(address);
        }
        self.count -= usize::from(waiter.is_some());
        waiter
    }

    /// Takes those out whose client went away.
    fn forget_the_gone(&mut self) {
        for own in self.of_address.values_mut() {
            own.retain(|waiter| !waiter.is_closed());
        }
        self.of_address.retain(|_, own| !own.is_empty());
        let of_address = &self.of_address;
        self.order.retain(|address| of_address.contains_key(address));
        self.count = of_address.values().map(VecDeque::len).sum();
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let strangers_turn = self.passed >= STRANGERS_EVERY;
        if !strangers_turn && let Some(waiter) = self.known.pop() {
            self.passed += 1;
            return Some(waiter);
        }
        self.passed = 0;
        self.strangers.pop().or_else(|| self.known.pop())
    }
}

impl Turns {
    /// So many at once.
    pub fn new(at_once: usize) -> Self {
        Self::within(at_once, WITHIN)
    }

    fn within(at_once: usize, within: Duration) -> Self {
        let (known, strangers) = (Waiting::default(), Waiting::default());
        Self { state: Arc::new(Mutex::new(State { free: at_once, known, strangers, passed: 0 })), within }
    }

    /// Waits for a turn; it lasts as long as what is returned.
    pub async fn turn(&self, address: IpAddr, line: Line) -> Result<Turn, NoTurn> {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(self.clone())));
            }
            let (sender, receiver) = oneshot::channel();
            let waiting = match line {
                Line::Known => &mut state.known,
                Line::Strangers => &mut state.strangers,
            };
            waiting.push(network_of(address), sender)?;
            receiver
        };
        match tokio::time::timeout(self.within, waiting).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(NoTurn::Late),
        }
    }

    /// A turn is over: it goes to the next that still waits.
    fn end(&self) {
        loop {
            let next = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(next) = state.next() else {
                    state.free += 1;
                    return;
                };
                next
            };
            // Its client may be gone: the turn comes back then, and goes to the one after that.
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// One host can have all addresses of an IPv6 network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// Lets one question wait; tells its name when it has its turn, and ends that at once.
    fn ask(
        turns: &Turns,
        name: &'static str,
        from: IpAddr,
        line: Line,
        told: &tokio::sync::mpsc::UnboundedSender<&'static str>,
    ) {
        let (turns, told) = (turns.clone(), told.clone());
        tokio::spawn(async move {
            if let Ok(turn) = turns.turn(from, line).await {
                told.send(name).unwrap();
                drop(turn);
            }
        });
    }

    async fn settle() {
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_flood_of_one_address_is_one_place_ahead_and_known_machines_come_first() {
        let turns = Turns::new(1);
        let held = turns.turn(host(1), Line::Strangers).await.unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..200 {
            ask(&turns, "flood", host(66), Line::Strangers, &sender);
        }
        settle().await;
        ask(&turns, "new", host(2), Line::Strangers, &sender);
        ask(&turns, "known", host(3), Line::Known, &sender);
        settle().await;
        drop(held);
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(told.recv().await.unwrap());
        }
        assert_eq!(order, ["known", "flood", "new"]);
        settle().await;
        // Beyond its share the flood was refused at once.
        let mut rest = 0;
        while told.try_recv().is_ok() {
            rest += 1;
        }
        assert_eq!(rest + 1, MAX_OF_ADDRESS);
        assert!(turns.turn(host(1), Line::Strangers).await.is_ok());
    }

    #[tokio::test]
    async fn a_hall_of_known_machines_lets_a_stranger_through() {
        let turns = Turns::new(1);
        let held = turns.turn(host(1), Line::Known).await.unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        ask(&turns, "stranger", host(2), Line::Strangers, &sender);
        for number in 0..40 {
            ask(&turns, "known", host(100 + number), Line::Known, &sender);
        }
        settle().await;
        drop(held);
        let mut before = 0;
        while told.recv().await.unwrap() != "stranger" {
            before += 1;
        }
        assert_eq!(before, STRANGERS_EVERY);
    }

    #[tokio::test]
    async fn who_waits_too_long_or_goes_away_costs_no_turn() {
        let turns = Turns::within(1, Duration::from_millis(50));
        let held = turns.turn(host(1), Line::Known).await.unwrap();
        assert_eq!(turns.turn(host(2), Line::Known).await.err(), Some(NoTurn::Late));
        let gone = tokio::spawn({
            let turns = turns.clone();
            async move { turns.turn(host(3), Line::Strangers).await.map(drop) }
        });
        settle().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(held);
        for _ in 0..3 {
            assert!(turns.turn(host(4), Line::Strangers).await.is_ok());
        }
    }

    #[test]
    fn all_addresses_of_a_small_ipv6_network_are_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("fd00::1"), of("fd00::ffff:1"));
        assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), host(1));
    }
}
