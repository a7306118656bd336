//! Applies one object by server-side apply, with retries until a deadline.
//!
//! Never retries what the API server refused for good: an invalid object stays invalid.

use std::collections::HashMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, oneshot};
use kube::runtime::wait::{self, Condition, conditions};
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::manifests::{Manifest, Phase};
use crate::api_client;
use crate::error_chain::ErrorChain;

/// Owner of the fields that the manifests set.
const FIELD_MANAGER: &str = "bloomery";
/// Namespace of namespaced objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Why one object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not know the kind.
    #[error("failed to find kind {kind} in {api_version}")]
    Discover {
        /// The kind.
        kind: String,
        /// Its group and version.
        api_version: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not take the object.
    #[error("failed to apply")]
    Patch(#[source] Box<kube::Error>),
    /// The watch for a definition's condition ended.
    #[error("failed to watch the definition")]
    Watch(#[source] Box<wait::Error>),
    /// A definition did not become usable.
    #[error("failed to see the definition established in time")]
    NotEstablished,
}

impl Error {
    /// True when the same request may succeed later.
    fn is_transient(&self) -> bool {
        match self {
            // A kind may appear a moment after its definition is established.
            Self::Discover { source, .. } => is_transient(source) || status_code(source) == Some(404),
            Self::Patch(source) => is_transient(source),
            Self::Watch(_) => true,
            Self::NotEstablished => false,
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
    pub(super) async fn apply(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut delays = api_client::delays();
        loop {
            let error = match self.attempt(manifest).await {
                Ok(()) => {
                    debug!(object = %manifest, "applied");
                    return Ok(());
                }
                Err(error) => error,
            };
            let Some(delay) = delays.next() else { return Err(error) };
            if !error.is_transient() || Instant::now() + delay >= self.deadline {
                return Err(error);
            }
            warn!(object = %manifest, error = %ErrorChain(&error), "will apply again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, manifest: &Manifest) -> Result<(), Error> {
        match manifest.phase() {
            Phase::Definitions => self.apply_definition(manifest).await,
            Phase::Namespaces | Phase::Objects => self.apply_object(manifest).await,
        }
    }

    async fn apply_definition(&self, manifest: &Manifest) -> Result<(), Error> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let applied = api
            .patch(&manifest.name, &parameters(), &Patch::Apply(&manifest.object))
            .await
            .map_err(|source| Error::Patch(Box::new(source)))?;
        let established = conditions::is_crd_established();
        // On repeat boots the answer says so already.
        if established.matches_object(Some(&applied)) {
            return Ok(());
        }
        let waiting = wait::await_condition(api, &manifest.name, established);
        match tokio::time::timeout_at(self.deadline, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(Error::Watch(Box::new(source))),
            Err(_) => Err(Error::NotEstablished),
        }
    }

    async fn apply_object(&self, manifest: &Manifest) -> Result<(), Error> {
        let (resource, capabilities) = self.discover(&manifest.gvk).await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = manifest.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
        };
        api.patch(&manifest.name, &parameters(), &Patch::Apply(&manifest.object))
            .await
            .map(drop)
            .map_err(|source| Error::Patch(Box::new(source)))
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

fn parameters() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}
