//! What all reconcilers share: their error, its retry, events and metrics.
//!
//! Never knows a kind: that is in the kind's own folder.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bloomery_platform::chain;
use bloomery_platform::client::Clients;
use bloomery_platform::events::{Notice, Recorder};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::table::{Key, Row};

/// Name under which events are recorded; clients filter by it.
pub const COMPONENT: &str = "sidero-controller-manager";
/// First delay after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest delay after failures: upstream's default requeue.
const LONGEST_RETRY: Duration = Duration::from_secs(20);
/// Why nothing is reconciled by a plane that does not act.
pub const NOT_ACTING: &str = "leave to act: another plane holds it, or the API server does not say";
/// When to look again while another plane acts.
const UNTIL_ACTING: Duration = Duration::from_secs(20);
/// Somebody else wrote the object in between: read it again at once.
const CONFLICT_RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {operation} {object}")]
    Api { operation: &'static str, object: String, source: Box<kube::Error> },
    /// The object is not what its kind should be; a change of the object is waited for.
    #[error("failed to use {object}: {problem}")]
    Invalid { object: String, problem: String },
    /// A node or a library said no, or nothing: it is asked again.
    #[error("failed to go on with {object}: {problem}")]
    Node { object: String, problem: String },
    #[error("failed to inspect {path}")]
    File { path: String, source: std::io::Error },
    #[error("failed to make {object}")]
    Talos { object: String, source: Box<bloomery_talosconfig::Error> },
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
            Self::Node { .. } => "node",
            Self::File { .. } => "file",
            Self::Talos { .. } => "talos",
        }
    }

    /// True when trying again without a change of the object may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api { .. } | Self::Node { .. } | Self::File { .. } => true,
            Self::Talos { source, .. } => source.is_retryable(),
            Self::Invalid { .. } => false,
        }
    }

    /// True when somebody else wrote the object since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409))
    }
}

/// The object as the API server has it now; `None` when it is gone.
pub async fn read<K>(api: &Api<DeserializeGuard<K>>, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = api.get_opt(name).await.map_err(Error::api("get", format!("{} {name}", K::kind(&()))))?;
    found.map(readable).transpose()
}

/// The object, or what is wrong with it: one that cannot be read is not absent.
pub fn readable<K: Resource<DynamicType = ()>>(guarded: DeserializeGuard<K>) -> Result<K, Error> {
    let name = guarded.name_any();
    let object = || match guarded.namespace() {
        Some(namespace) => format!("{} {namespace}/{name}", K::kind(&())),
        None => format!("{} {name}", K::kind(&())),
    };
    let object = object();
    guarded.0.map_err(|invalid| Error::Invalid { object, problem: invalid.error })
}

/// What all parts of this process share.
#[derive(Clone)]
pub struct Context {
    /// The API server, for what nobody waits for.
    pub client: Client,
    /// The API server, for what a decision about a machine waits for, and for writing what was decided.
    pub urgent: Client,
    /// The same for giving machines their Servers: it waits for nothing that follows the bindings of others.
    pub claims: Client,
    /// Talos's own library: secrets, configurations, client certificates.
    pub talos: bloomery_talosconfig::Client,
    events: Recorder,
    metrics: Arc<Metrics>,
}

impl Context {
    pub fn new(
        clients: Clients,
        events: Recorder,
        metrics: Arc<Metrics>,
        talos: bloomery_talosconfig::Client,
    ) -> Self {
        let Clients { urgent, background: client } = clients;
        Self { client, claims: urgent.clone(), urgent, talos, events, metrics }
    }

    /// Where this process counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Records an event some time soon.
    pub fn notify<K: Resource<DynamicType = ()>>(&self, object: &K, notice: Notice) {
        self.events.record(object.object_ref(&()), notice);
    }
}

/// What a controller is given: the same, and its row in the table.
#[derive(Clone)]
pub struct Frame {
    context: Context,
    row: Arc<Row>,
}

impl Deref for Frame {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Frame {
    pub const fn new(context: Context, row: Arc<Row>) -> Self {
        Self { context, row }
    }

    pub fn config(&self) -> ControllerConfig {
        ControllerConfig::default().concurrency(self.row.definition.workers)
    }

    /// Time until an object is looked at again, whatever happened in between.
    pub fn resync(&self) -> Duration {
        self.row.definition.resync
    }

    /// Looks again after `delay`, because of what keeps all reconciles from their work.
    pub fn wait(&self, what: &'static str, delay: Duration) -> Action {
        self.row.waits_for(Some(what));
        Action::requeue(delay)
    }

    /// A plane that does not act reconciles nothing.
    pub fn wait_to_act(&self) -> Action {
        self.wait(NOT_ACTING, UNTIL_ACTING)
    }

    pub fn forget(&self, object: &Key) {
        self.row.forget(object);
    }

    /// Runs one reconcile, measures it and keeps count of failures in a row.
    pub async fn observe(
        &self,
        object: &Key,
        work: impl Future<Output = Result<Action, Error>>,
    ) -> Result<Action, Error> {
        let (started, kind) = (Instant::now(), self.row.definition.kind);
        let begun = self.row.begin(object, started);
        let result = work.await;
        drop(begun);
        let outcome = result.as_ref().map_or_else(Error::category, |_| "success");
        self.row.ended(object, outcome, started.elapsed());
        self.context.metrics.reconciled(kind, outcome, started.elapsed());
        if result.is_ok() {
            debug!(kind, %object, "reconciled");
        }
        result
    }

    /// What to do after a failure: try again, later each time.
    pub fn after_failure(&self, object: &Key, error: &Error) -> Action {
        if error.is_conflict() {
            return Action::requeue(CONFLICT_RETRY);
        }
        let (kind, text) = (self.row.definition.kind, chain(error));
        let attempt = self.row.failed(object, text.clone());
        warn!(kind, %object, attempt, error = text, "reconcile failed");
        Action::requeue(if error.is_retryable() { retry_delay(attempt) } else { self.resync() })
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
    use bloomery_api::{Server, ServerBinding};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn delays_grow_to_a_limit() {
        let millis: Vec<_> = [1, 2, 3, 6, 7, u32::MAX].map(|n| retry_delay(n).as_millis()).into();
        assert_eq!(millis, [500, 1000, 2000, 16_000, 20_000, 20_000]);
    }

    fn guarded<K: Resource<DynamicType = ()> + DeserializeOwned>(spec: &Value) -> DeserializeGuard<K> {
        let metadata = json!({ "name": "a" });
        let (version, kind) = (K::api_version(&()), K::kind(&()));
        let object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_unreadable_object_is_named_and_is_not_absent() {
        assert!(readable::<Server>(guarded(&json!({ "accepted": true }))).unwrap().spec.accepted);
        let error = readable::<Server>(guarded(&json!({ "accepted": "yes" }))).unwrap_err();
        assert!(error.to_string().starts_with("failed to use Server a: "), "{error}");
        let error = readable::<ServerBinding>(guarded(&json!({ "metalMachineRef": 7 }))).unwrap_err();
        assert!(error.to_string().starts_with("failed to use ServerBinding a: "), "{error}");
    }

    #[test]
    fn an_invalid_object_waits_for_its_change() {
        let error = Error::Invalid { object: "Server a".to_owned(), problem: "bad".to_owned() };
        assert!(!error.is_retryable());
        assert_eq!(error.category(), "invalid");
    }
}
