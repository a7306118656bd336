//! Applies one object by server-side apply, with retries until a deadline.
//!
//! Never retries what the API server refused for good: an invalid object stays invalid.

use std::collections::HashMap;
use std::time::Duration;

use bloomery_platform::{chain, client};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, oneshot};
use kube::runtime::wait::{self, Condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::manifests::{Manifest, Phase};
use super::{removable, unchanged};

/// Owner of the fields that the manifests set.
const FIELD_MANAGER: &str = "bloomery";
/// A kind is served within moments of its definition being established; one that is not by then has none.
const KIND_LIMIT: Duration = Duration::from_secs(15);
/// Namespace of namespaced objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to find kind {kind} in {api_version}")]
    Discover { kind: String, api_version: String, source: Box<kube::Error> },
    #[error("failed to read")]
    Get(#[source] Box<kube::Error>),
    #[error("failed to understand the definition")]
    Unreadable(#[source] kube::core::dynamic::ParseDynamicObjectError),
    #[error("failed to use the record of what was applied")]
    Record(#[source] Box<kube::Error>),
    #[error("failed to apply")]
    Patch(#[source] Box<kube::Error>),
    #[error("failed to watch the definition")]
    Watch(#[source] Box<wait::Error>),
    #[error("failed to see the definition established in time")]
    NotEstablished,
}

impl Error {
    /// True when the same request may succeed later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Discover { source, .. } => is_transient(source) || self.is_unknown_kind(),
            Self::Get(source) | Self::Patch(source) => is_transient(source),
            // The API server makes its own namespace in its first moments.
            Self::Record(source) => is_transient(source) || status_code(source) == Some(404),
            Self::Watch(_) => true,
            Self::Unreadable(_) | Self::NotEstablished => false,
        }
    }

    /// True when the API server knows its mind and the kind is not in it.
    fn is_unknown_kind(&self) -> bool {
        match self {
            Self::Discover { source, .. } => {
                status_code(source) == Some(404) || matches!(source.as_ref(), kube::Error::Discovery(_))
            }
            Self::Get(_)
            | Self::Record(_)
            | Self::Unreadable(_)
            | Self::Patch(_)
            | Self::Watch(_)
            | Self::NotEstablished => false,
        }
    }
}

/// True for what a restart or a moment's overload explains.
fn is_transient(error: &kube::Error) -> bool {
    match status_code(error) {
        // Conflict, too many requests, and anything that is the server's fault.
        Some(code) => code == 409 || code == 429 || code >= 500,
        None => {
            matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_))
        }
    }
}

fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What was done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Applied,
    /// It was what its manifest says already.
    Unchanged,
    /// A person took it away, and may.
    Removed,
}

/// Applies objects through one client, and remembers what it learned of their kinds.
pub(super) struct Applier {
    client: Client,
    deadline: Instant,
    kinds: Mutex<HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>>,
}

impl Applier {
    pub(super) fn new(client: Client, deadline: Instant) -> Self {
        Self { client, deadline, kinds: Mutex::default() }
    }

    /// Applies until it works, the error is final or the time is over.
    pub(super) async fn apply(&self, manifest: &Manifest) -> Result<Outcome, Error> {
        let wanted = unchanged::stamped(&manifest.object);
        let mut delays = client::delays();
        let started = Instant::now();
        loop {
            let error = match self.attempt(manifest, &wanted).await {
                Ok(outcome) => {
                    debug!(object = %manifest, outcome = ?outcome, "applied");
                    return Ok(outcome);
                }
                Err(error) => error,
            };
            let Some(delay) = delays.next() else { return Err(error) };
            let limit = if error.is_unknown_kind() { started + KIND_LIMIT } else { self.deadline };
            if !error.is_transient() || Instant::now() + delay >= limit.min(self.deadline) {
                return Err(error);
            }
            warn!(object = %manifest, error = chain(&error), "will apply again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, manifest: &Manifest, wanted: &Value) -> Result<Outcome, Error> {
        let api = self.api(manifest).await?;
        let live = api.get_opt(&manifest.name).await.map_err(|source| Error::Get(Box::new(source)))?;
        let is_removable = manifest.is_removable();
        let recorded = |source| Error::Record(Box::new(source));
        if is_removable && removable::was_there(&self.client, manifest).await.map_err(recorded)? {
            if live.is_some() {
                return Ok(Outcome::Unchanged);
            }
            info!(object = %manifest, "not applied: a person took it away");
            return Ok(Outcome::Removed);
        }
        let same = live.as_ref().is_some_and(|live| is_same(live, wanted));
        let (object, outcome) = match live {
            Some(live) if same => (live, Outcome::Unchanged),
            Some(_) | None => {
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let patched = api.patch(&manifest.name, &params, &Patch::Apply(wanted)).await;
                (patched.map_err(|source| Error::Patch(Box::new(source)))?, Outcome::Applied)
            }
        };
        if is_removable {
            removable::note(&self.client, manifest).await.map_err(recorded)?;
        }
        match manifest.phase() {
            Phase::Definitions => self.wait_until_established(&object).await?,
            Phase::Rights | Phase::Namespaces | Phase::Objects => {}
        }
        Ok(outcome)
    }

    async fn wait_until_established(&self, definition: &DynamicObject) -> Result<(), Error> {
        let established = conditions::is_crd_established();
        let definition: CustomResourceDefinition =
            definition.clone().try_parse().map_err(Error::Unreadable)?;
        // On repeat boots it says so already.
        if established.matches_object(Some(&definition)) {
            return Ok(());
        }
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = definition.name_any();
        let waiting = wait::await_condition(api, &name, established);
        match tokio::time::timeout_at(self.deadline, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(Error::Watch(Box::new(source))),
            Err(_) => Err(Error::NotEstablished),
        }
    }

    async fn api(&self, manifest: &Manifest) -> Result<Api<DynamicObject>, Error> {
        let (resource, capabilities) = self.discover(&manifest.gvk).await?;
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = manifest.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
        })
    }

    /// Asks once for each kind; concurrent askers wait for the first.
    async fn discover(&self, gvk: &GroupVersionKind) -> Result<(ApiResource, ApiCapabilities), Error> {
        let mut kinds = self.kinds.lock().await;
        if let Some(known) = kinds.get(gvk) {
            return Ok(known.clone());
        }
        let found = oneshot::pinned_kind(&self.client, gvk).await.map_err(|source| Error::Discover {
            kind: gvk.kind.clone(),
            api_version: gvk.api_version(),
            source: Box::new(source),
        })?;
        kinds.insert(gvk.clone(), found.clone());
        Ok(found)
    }
}

/// True when the object was last applied from this manifest and still says all of it.
fn is_same(live: &DynamicObject, wanted: &Value) -> bool {
    // An object that cannot be written as JSON was never read from it.
    serde_json::to_value(live).is_ok_and(|live| unchanged::contains(&live, wanted))
}
