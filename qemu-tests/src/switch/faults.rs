//! What goes wrong with a machine's power commands, as it does with real BMCs.
//!
//! Drawn from a generator with a fixed seed: two runs with the same commands see the same faults.

use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::VecDeque, time::Duration};

/// What happens to one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with an error, and not done.
    Refuse,
    /// It is acknowledged, and not done.
    Ignore,
    /// It is acknowledged, and done only after this time.
    Late(Duration),
}

/// The faults of one machine.
#[derive(Debug, Clone)]
pub struct Faults {
    /// What happens to the next commands, in this order; the chances below count after them.
    pub next: VecDeque<Fault>,
    /// How many of a hundred commands are refused.
    pub refuse_percent: u8,
    /// How many of a hundred commands are ignored.
    pub ignore_percent: u8,
    /// How late all others are done.
    pub late: Duration,
    dice: StdRng,
}

impl Faults {
    /// No faults yet; `seed` decides which commands the chances hit.
    pub fn none(seed: u64) -> Self {
        Self {
            next: VecDeque::new(),
            refuse_percent: 0,
            ignore_percent: 0,
            late: Duration::ZERO,
            dice: StdRng::seed_from_u64(seed),
        }
    }

    /// What happens to the command that has just come.
    pub fn draw(&mut self) -> Option<Fault> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        let number = self.dice.random_range(0..100_u8);
        if number < self.refuse_percent {
            Some(Fault::Refuse)
        } else if number < self.refuse_percent.saturating_add(self.ignore_percent) {
            Some(Fault::Ignore)
        } else {
            (self.late > Duration::ZERO).then_some(Fault::Late(self.late))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_faults_come_first_and_then_the_chances() {
        let mut faults = Faults::none(1);
        assert_eq!(faults.draw(), None);
        faults.next = [Fault::Ignore, Fault::Refuse].into();
        assert_eq!(faults.draw(), Some(Fault::Ignore));
        assert_eq!(faults.draw(), Some(Fault::Refuse));
        assert_eq!(faults.draw(), None);
        faults.late = Duration::from_secs(3);
        assert_eq!(faults.draw(), Some(Fault::Late(Duration::from_secs(3))));
        faults.refuse_percent = 100;
        assert_eq!(faults.draw(), Some(Fault::Refuse));
    }

    #[test]
    fn chances_are_about_what_was_asked_for_and_the_same_in_every_run() {
        let draw = || {
            let mut faults = Faults { refuse_percent: 20, ignore_percent: 10, ..Faults::none(42) };
            (0..1000).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        let drawn = draw();
        let count = |fault| drawn.iter().filter(|drawn| **drawn == Some(fault)).count();
        assert!(count(Fault::Refuse).abs_diff(200) < 50, "{}", count(Fault::Refuse));
        assert!(count(Fault::Ignore).abs_diff(100) < 40, "{}", count(Fault::Ignore));
        assert_eq!(drawn, draw());
    }
}
