//! Calls of many targets of which some are dead: each call within a limit, and none while its target is left alone, so that
//! dead ones hold no worker.

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use bloomery_base::{Backoff, Breaker, LeftAlone};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// Why a call brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum CallError {
    #[error("failed to call the target")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
    #[error("failed to get an answer within {} s", .0.as_secs())]
    Overdue(Duration),
    #[error("not tried, next try in {} s because the last {failures} failed", retry_after.as_secs_f64().ceil())]
    LeftAlone {
        /// Until a call is tried again.
        retry_after: Duration,
        failures: u32,
        #[source]
        last: Box<CallError>,
    },
}

/// All targets that failed last time. Clones share it.
#[derive(Clone, Debug)]
pub struct Targets<Q> {
    limit: Duration,
    backoff: Backoff,
    failing: Arc<Mutex<HashMap<Q, Breaker<CallError>>>>,
}

impl<Q: Eq + Hash + Clone> Targets<Q> {
    /// With this limit for a whole call.
    pub fn new(limit: Duration, backoff: Backoff) -> Self {
        Self { limit, backoff, failing: Arc::default() }
    }

    /// Calls the target, unless it is left alone.
    pub async fn call<T, E: Error + Send + Sync + 'static>(
        &self,
        target: &Q,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError> {
        if let Some(breaker) = self.failing.lock().get(target) {
            breaker.admit(Instant::now().into_std()).map_err(
                |LeftAlone { retry_after, failures, last }| CallError::LeftAlone {
                    retry_after,
                    failures,
                    last: Box::new(last),
                },
            )?;
        }
        let result = match timeout(self.limit, call).await {
            Ok(result) => result.map_err(|error| CallError::Failed(Arc::new(error))),
            Err(_) => Err(CallError::Overdue(self.limit)),
        };
        let mut failing = self.failing.lock();
        match &result {
            Ok(_) => {
                failing.remove(target);
            }
            Err(error) => {
                let breaker = failing.entry(target.clone()).or_default();
                breaker.failed(Instant::now().into_std(), error.clone(), self.backoff);
            }
        }
        result
    }

    /// Forgets a target that is gone, or that a person changed.
    pub fn forget(&self, target: &Q) {
        self.failing.lock().remove(target);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Refused;

    const LIMIT: Duration = Duration::from_secs(10);
    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_mins(1) };

    fn targets() -> Targets<&'static str> {
        Targets::new(LIMIT, BACKOFF)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_target_holds_a_worker_once_and_is_then_left_alone() {
        let targets = targets();
        let started = Instant::now();
        let dead = targets.call(&"dead", pending::<Result<(), Refused>>()).await;
        assert!(matches!(dead, Err(CallError::Overdue(LIMIT))) && started.elapsed() == LIMIT);
        let again = targets.call(&"dead", pending::<Result<(), Refused>>()).await.unwrap_err();
        assert_eq!(started.elapsed(), LIMIT, "it was not tried");
        assert_eq!(
            crate::chain(&again),
            "not tried, next try in 2 s because the last 1 failed: failed to get an answer within 10 s"
        );
        assert_eq!(targets.call(&"well", ready(Ok::<_, Refused>(1))).await.unwrap(), 1, "others are called");
        tokio::time::advance(BACKOFF.first).await;
        assert_eq!(targets.call(&"dead", ready(Ok::<_, Refused>(2))).await.unwrap(), 2);
        assert_eq!(targets.call(&"dead", ready(Ok::<_, Refused>(3))).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_with_its_cause_and_forgotten_when_asked() {
        let targets = targets();
        let failed = targets.clone().call(&"a", ready(Err::<(), _>(Refused))).await.unwrap_err();
        assert_eq!(crate::chain(&failed), "failed to call the target: connection refused");
        assert!(matches!(
            targets.call(&"a", ready(Ok::<_, Refused>(()))).await,
            Err(CallError::LeftAlone { .. })
        ));
        targets.forget(&"a");
        targets.call(&"a", ready(Ok::<_, Refused>(()))).await.unwrap();
    }
}
