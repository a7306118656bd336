//! Whether a BMC may be asked now.
//!
//! ```text
//!             failed                  time over
//!   healthy ---------> backing off ------------> on trial
//!      ^                    ^                     |    |
//!      |                    +------- failed ------+    |
//!      +------------------------ succeeded ------------+
//! ```
//!
//! Pure: the time is a parameter. Never waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Config;
use crate::error::Cause;

/// Doublings that matter: more would overflow, and no limit is that high.
const MAX_DOUBLINGS: u32 = 16;

/// State of one BMC.
#[derive(Debug)]
pub(super) struct Health {
    /// The earliest start of a command: the gap.
    ready_at: Instant,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    count: u32,
    last: Arc<Cause>,
    retry_at: Instant,
}

impl Health {
    pub(super) const fn new(now: Instant) -> Self {
        Self { ready_at: now, failure: None }
    }

    /// When a command may start, or why not at all.
    pub(super) fn admit(&self, now: Instant) -> Result<Instant, Cause> {
        match &self.failure {
            Some(Failure { count, last, retry_at }) if now < *retry_at => {
                Err(Cause::Backoff { retry_after: *retry_at - now, failures: *count, last: Arc::clone(last) })
            }
            Some(_) | None => Ok(self.ready_at),
        }
    }

    /// Failed last time.
    pub(super) const fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// A command ended somehow, even cancelled.
    pub(super) fn rest(&mut self, now: Instant, gap: Duration) {
        self.ready_at = now + gap;
    }

    /// A command succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failure = None;
    }

    /// A command failed.
    pub(super) fn failed(&mut self, now: Instant, cause: Cause, config: &Config) {
        let before = self.failure.as_ref().map_or(0, |failure| failure.count);
        let delay =
            config.first_backoff.saturating_mul(1 << before.min(MAX_DOUBLINGS)).min(config.max_backoff);
        self.failure =
            Some(Failure { count: before.saturating_add(1), last: Arc::new(cause), retry_at: now + delay });
    }
}
