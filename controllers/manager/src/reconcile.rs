//! What all reconcilers share: their error, its retry, events and metrics.
//!
//! Never knows a kind: that is in the kind's own folder.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bloomery_platform::chain;
use bloomery_platform::client::Clients;
use bloomery_platform::events::{Notice, Recorder};
use kube::runtime::controller::Action;
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// Name under which events are recorded; clients filter by it.
pub const COMPONENT: &str = "sidero-controller-manager";
/// Every object is looked at again after this time, whatever happened in between.
pub const RESYNC: Duration = Duration::from_mins(5);
/// First delay after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest delay after failures: upstream's default requeue.
const LONGEST_RETRY: Duration = Duration::from_secs(20);
/// Somebody else wrote the object in between: read it again at once.
const CONFLICT_RETRY: Duration = Duration::from_millis(50);

/// Why a reconcile did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or was not there.
    #[error("failed to {operation} {object}")]
    Api {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Kind and name.
        object: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// The object is not what its kind should be; a change of the object is waited for.
    #[error("failed to use {object}: {problem}")]
    Invalid {
        /// Kind and name.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be looked at.
    #[error("failed to inspect {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an API error with what was tried.
    pub fn api(operation: &'static str, object: String) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { operation, object, source: Box::new(source) }
    }

    /// One word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.is_conflict() => "conflict",
            Self::Api { .. } => "api",
            Self::Invalid { .. } => "invalid",
            Self::File { .. } => "file",
        }
    }

    /// True when trying again without a change of the object may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api { .. } | Self::File { .. } => true,
            Self::Invalid { .. } => false,
        }
    }

    /// True when somebody else wrote the object since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409))
    }
}

/// What a reconciler of any kind is given.
#[derive(Clone)]
pub struct Context {
    /// The API server, for what nobody waits for.
    pub client: Client,
    /// The API server, for what a decision about a machine waits for, and for writing what was decided.
    pub urgent: Client,
    events: Recorder,
    metrics: Arc<Metrics>,
    failures: Arc<Mutex<HashMap<String, u32>>>,
}

impl Context {
    /// A context of its own failure counts for each kind.
    pub fn new(clients: Clients, events: Recorder, metrics: Arc<Metrics>) -> Self {
        let Clients { urgent, background: client } = clients;
        Self { client, urgent, events, metrics, failures: Arc::default() }
    }

    /// Where this process counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Records an event some time soon.
    pub fn notify<K: Resource<DynamicType = ()>>(&self, object: &K, notice: Notice) {
        self.events.record(object.object_ref(&()), notice);
    }

    /// Runs one reconcile, measures it and keeps count of failures in a row.
    pub async fn observe(
        &self,
        kind: &'static str,
        name: &str,
        work: impl Future<Output = Result<Action, Error>>,
    ) -> Result<Action, Error> {
        let started = Instant::now();
        let result = work.await;
        let outcome = result.as_ref().map_or_else(Error::category, |_| "success");
        self.metrics.reconciled(kind, outcome, started.elapsed());
        if result.is_ok() {
            self.failures.lock().remove(name);
            debug!(kind, name, "reconciled");
        }
        result
    }

    /// What to do after a failure: try again, later each time.
    pub fn after_failure(&self, kind: &'static str, name: &str, error: &Error) -> Action {
        if error.is_conflict() {
            return Action::requeue(CONFLICT_RETRY);
        }
        let attempt = {
            let mut failures = self.failures.lock();
            let count = failures.entry(name.to_owned()).or_default();
            *count = count.saturating_add(1);
            *count
        };
        warn!(kind, name, attempt, error = chain(error), "reconcile failed");
        Action::requeue(if error.is_retryable() { retry_delay(attempt) } else { RESYNC })
    }
}

/// Doubles from the first delay to the longest.
fn retry_delay(attempt: u32) -> Duration {
    // Ten doublings pass the longest delay by far; more would overflow.
    let doublings = attempt.saturating_sub(1).min(10);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit() {
        let millis: Vec<_> = [1, 2, 3, 6, 7, u32::MAX].map(|n| retry_delay(n).as_millis()).into();
        assert_eq!(millis, [500, 1000, 2000, 16_000, 20_000, 20_000]);
    }

    #[test]
    fn an_invalid_object_waits_for_its_change() {
        let error = Error::Invalid { object: "Server a".to_owned(), problem: "bad".to_owned() };
        assert!(!error.is_retryable());
        assert_eq!(error.category(), "invalid");
    }
}
