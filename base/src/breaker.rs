//! Targets that fail are left alone for a while, longer each time.
//!
//! ```text
//!             failed                  time over
//!   healthy ---------> left alone ------------> on trial
//!      ^                    ^                     |    |
//!      |                    +------- failed ------+    |
//!      +------------------------ succeeded ------------+
//! ```
//!
//! Pure: the time is a parameter.

use std::time::{Duration, Instant};

/// Doublings that matter: more would overflow, and no limit is that high.
const MAX_DOUBLINGS: u32 = 16;

/// For how long a target that fails is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubles with each.
    pub first: Duration,
    /// Upper limit of that.
    pub max: Duration,
}

/// What is known of one target.
#[derive(Debug)]
pub struct Breaker<E> {
    failure: Option<Failure<E>>,
}

#[derive(Debug)]
struct Failure<E> {
    count: u32,
    last: E,
    retry_at: Instant,
}

/// The target is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone<E> {
    /// Until it is tried again.
    pub retry_after: Duration,
    /// Failures in a row.
    pub failures: u32,
    /// The last of them.
    pub last: E,
}

impl<E> Default for Breaker<E> {
    fn default() -> Self {
        Self { failure: None }
    }
}

impl<E: Clone> Breaker<E> {
    /// Whether the target may be tried.
    pub fn admit(&self, now: Instant) -> Result<(), LeftAlone<E>> {
        match &self.failure {
            Some(Failure { count, last, retry_at }) if now < *retry_at => {
                Err(LeftAlone { retry_after: *retry_at - now, failures: *count, last: last.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Failed last time.
    pub const fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// The target did what it was asked.
    pub fn succeeded(&mut self) {
        self.failure = None;
    }

    /// It did not.
    pub fn failed(&mut self, now: Instant, error: E, backoff: Backoff) {
        let before = self.failure.as_ref().map_or(0, |failure| failure.count);
        let delay = backoff.first.saturating_mul(1 << before.min(MAX_DOUBLINGS)).min(backoff.max);
        self.failure = Some(Failure { count: before.saturating_add(1), last: error, retry_at: now + delay });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_mins(5) };

    #[test]
    fn a_target_that_fails_is_left_alone_longer_each_time_up_to_a_limit() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for (count, seconds) in (1..).zip([2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
            assert_eq!(breaker.admit(now), Ok(()), "on trial");
            breaker.failed(now, count, BACKOFF);
            let left = LeftAlone { retry_after: Duration::from_secs(seconds), failures: count, last: count };
            assert_eq!(breaker.admit(now), Err(left));
            now += Duration::from_secs(seconds);
        }
        assert!(breaker.is_failing());
    }

    #[test]
    fn a_success_begins_anew_and_many_failures_overflow_nothing() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed(now, (), BACKOFF);
        }
        assert_eq!(breaker.admit(now).unwrap_err().retry_after, BACKOFF.max);
        breaker.succeeded();
        assert_eq!((breaker.admit(now), breaker.is_failing()), (Ok(()), false));
        breaker.failed(now, (), BACKOFF);
        assert_eq!(breaker.admit(now).unwrap_err().retry_after, BACKOFF.first);
    }
}
