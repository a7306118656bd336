//! Turns at the Kubernetes API: so many at once, and those that must wait in order: one of each address at a time, and
//! of all strangers a few beside the known machines.
//!
//! It must never let more wait than its bounds, and never let one address stand before all others with everything it asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::network_of;

/// Longest wait for a turn. Clients wait 20 to 30 s for an answer: one that comes later is work for nobody.
const WITHIN: Duration = Duration::from_secs(15);
/// Questions that may wait in all, in each of the two lines: a hall of machines that is switched on at once.
const MAX_WAITING: usize = 4096;
/// Of one address. Machines behind a router that hides them have one address for all.
const MAX_OF_ADDRESS: usize = 64;
/// Strangers that stand in the queue with the known machines. A known machine waits for no more of them, however many
/// there are; and a hall of known machines keeps no stranger out for good.
const STRANGERS_QUEUED: usize = 4;

/// Which line a question stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Machines that have a Server.
    Known,
    /// All others.
    Strangers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    #[error("failed to get a turn: too many machines ask at once")]
    Full,
    #[error("failed to get a turn in time: too many machines ask at once")]
    Late,
}

/// The turns. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    /// First come, first served.
    queue: Arc<Semaphore>,
    known: Arc<Waiting>,
    strangers: Arc<Waiting>,
    within: Duration,
}

/// A turn; it ends with the value.
pub type Turn = OwnedSemaphorePermit;

/// Those of one line that are not in the queue yet, or are there.
#[derive(Debug)]
struct Waiting {
    room: Semaphore,
    /// So many of the line are in the queue.
    queued: Semaphore,
    /// One of each address is.
    of_address: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Waiting {
    fn new(queued: usize) -> Arc<Self> {
        let (room, queued) = (Semaphore::new(MAX_WAITING), Semaphore::new(queued));
        Arc::new(Self { room, queued, of_address: Mutex::default() })
    }

    /// The place of this address, if one more of it may wait.
    fn place(&self, address: IpAddr) -> Result<Arc<Semaphore>, NoTurn> {
        let mut of_address = self.of_address.lock();
        if of_address.len() >= 2 * MAX_WAITING {
            of_address.retain(|_, place| place.strong_count() > 0);
        }
        let known = of_address.get(&network_of(address)).and_then(Weak::upgrade);
        let place = known.unwrap_or_else(|| {
            let place = Arc::new(Semaphore::new(1));
            of_address.insert(network_of(address), Arc::downgrade(&place));
            place
        });
        // Each that waits holds its place, and this one does already.
        let is_full = Arc::strong_count(&place) > MAX_OF_ADDRESS && !address.is_loopback();
        if is_full { Err(NoTurn::Full) } else { Ok(place) }
    }
}

impl Turns {
    /// So many at once.
    pub fn new(at_once: usize) -> Self {
        Self::within(at_once, WITHIN)
    }

    fn within(at_once: usize, within: Duration) -> Self {
        let (known, strangers) = (Waiting::new(MAX_WAITING), Waiting::new(STRANGERS_QUEUED));
        Self { queue: Arc::new(Semaphore::new(at_once)), known, strangers, within }
    }

    /// Waits for a turn; it lasts as long as what is returned.
    pub async fn turn(&self, address: IpAddr, line: Line) -> Result<Turn, NoTurn> {
        // There is one only if nobody waits.
        if let Ok(turn) = Arc::clone(&self.queue).try_acquire_owned() {
            return Ok(turn);
        }
        let waiting = match line {
            Line::Known => &self.known,
            Line::Strangers => &self.strangers,
        };
        let _room = waiting.room.try_acquire().map_err(|_| NoTurn::Full)?;
        let place = waiting.place(address)?;
        let queue = async {
            let _own = place.acquire().await?;
            let _queued = waiting.queued.acquire().await?;
            Arc::clone(&self.queue).acquire_owned().await
        };
        match tokio::time::timeout(self.within, queue).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(NoTurn::Late),
        }
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
    async fn a_flood_of_one_address_is_one_place_ahead_of_others() {
        let turns = Turns::new(1);
        let held = turns.turn(host(1), Line::Strangers).await.unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..200 {
            ask(&turns, "flood", host(66), Line::Strangers, &sender);
        }
        settle().await;
        ask(&turns, "new", host(2), Line::Strangers, &sender);
        // An agent at the flooding address.
        ask(&turns, "known", host(66), Line::Known, &sender);
        settle().await;
        drop(held);
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(told.recv().await.unwrap());
        }
        assert_eq!(order, ["flood", "new", "known"]);
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
    async fn a_known_machine_waits_for_few_strangers_however_many_there_are() {
        let turns = Turns::new(1);
        let held = turns.turn(host(1), Line::Strangers).await.unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..40 {
            ask(&turns, "stranger", host(100 + number), Line::Strangers, &sender);
        }
        settle().await;
        ask(&turns, "known", host(2), Line::Known, &sender);
        settle().await;
        drop(held);
        let mut before = 0;
        while told.recv().await.unwrap() != "known" {
            before += 1;
        }
        assert_eq!(before, STRANGERS_QUEUED);
    }

    #[tokio::test]
    async fn a_hall_of_known_machines_that_ask_again_and_again_lets_a_stranger_through() {
        let turns = Turns::new(1);
        let held = turns.turn(host(1), Line::Known).await.unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut hall = tokio::task::JoinSet::new();
        for number in 0..40 {
            let (turns, sender) = (turns.clone(), sender.clone());
            hall.spawn(async move {
                while let Ok(turn) = turns.turn(host(100 + number), Line::Known).await {
                    drop(turn);
                    sender.send("known").unwrap();
                }
            });
        }
        settle().await;
        ask(&turns, "stranger", host(2), Line::Strangers, &sender);
        settle().await;
        drop(held);
        let mut before = 0;
        while told.recv().await.unwrap() != "stranger" {
            before += 1;
        }
        assert!(before <= 40, "{before}");
    }

    #[tokio::test]
    async fn the_number_that_waits_is_bounded_and_a_place_is_free_again_after_the_wait() {
        let turns = Turns::within(1, Duration::from_millis(50));
        let held = turns.turn(host(1), Line::Known).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..MAX_WAITING + 10 {
            let turns = turns.clone();
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            waiting.spawn(async move { turns.turn(address, Line::Strangers).await.err() });
        }
        let ends = waiting.join_all().await;
        assert_eq!(ends.iter().filter(|end| **end == Some(NoTurn::Full)).count(), 10);
        drop(held);
        assert!(turns.turn(host(1), Line::Strangers).await.is_ok());
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
}
