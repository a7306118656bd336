//! How long to wait before a child is started again. Pure: no clock, no randomness.

use std::time::Duration;

/// The first restart is almost at once: most crashes do not come back.
pub const FIRST: Duration = Duration::from_millis(50);
/// Long enough to leave the machine usable, short enough that a repaired cause is seen soon.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A child that was ready for this long is stable: its next crash is a new one.
pub const STABLE_AFTER: Duration = Duration::from_mins(1);

/// Delays that double from [`FIRST`] to [`LONGEST`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = 2_u32.checked_pow(self.failures).and_then(|factor| FIRST.checked_mul(factor));
        self.failures = self.failures.saturating_add(1);
        delay.map_or(LONGEST, |delay| delay.min(LONGEST))
    }

    /// Forgets the failures of a child that was ready for `ready_for`, if that is long enough.
    pub fn note_ready(&mut self, ready_for: Duration) {
        if ready_for >= STABLE_AFTER {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..12).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        for _ in 0..100 {
            assert_eq!(backoff.next_delay(), LONGEST);
        }
    }

    #[test]
    fn the_first_restart_comes_within_100_ms() {
        assert!(Backoff::default().next_delay() < Duration::from_millis(100));
    }

    #[test]
    fn only_a_stable_run_resets_the_delay() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.note_ready(STABLE_AFTER.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(backoff.next_delay().as_millis(), 1600);
        backoff.note_ready(STABLE_AFTER);
        assert_eq!(backoff.next_delay(), FIRST);
    }
}
