//! Whether a BMC may be asked now: the gap between two commands, and the time for which one that fails is left alone.

use std::sync::Arc;
use std::time::Duration;

use bloomery_base::{Backoff, Breaker, LeftAlone};
use tokio::time::Instant;

use super::Config;
use crate::error::PowerError;

#[derive(Debug)]
pub(super) struct Health {
    /// The earliest start of a command: the gap.
    ready_at: Instant,
    breaker: Breaker<Arc<PowerError>>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { ready_at: now, breaker: Breaker::default() }
    }

    /// When a command may start, or why not at all.
    pub(super) fn admit(&self, now: Instant) -> Result<Instant, PowerError> {
        let left_alone =
            |LeftAlone { retry_after, failures, last }| PowerError::Backoff { retry_after, failures, last };
        self.breaker.admit(now.into_std()).map_err(left_alone)?;
        Ok(self.ready_at)
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.breaker.is_failing()
    }

    /// A command ended somehow, even cancelled.
    pub(super) fn rest(&mut self, now: Instant, gap: Duration) {
        self.ready_at = now + gap;
    }

    pub(super) fn succeeded(&mut self) {
        self.breaker.succeeded();
    }

    pub(super) fn failed(&mut self, now: Instant, cause: PowerError, config: &Config) {
        let backoff = Backoff { first: config.first_backoff, max: config.max_backoff };
        self.breaker.failed(now.into_std(), Arc::new(cause), backoff);
    }
}
