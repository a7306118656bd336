//! Writes on a Server that was read: for exactly that object in exactly that version.

use bloomery_api::Server;

pub use bloomery_platform::patch::Part;
use bloomery_platform::patch::{self, try_merge};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};

/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "bootsvc";

pub type Written = patch::Written<Server>;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("failed to write a Server")]
    Api(#[source] Box<kube::Error>),
    #[error("failed to write a Server in time")]
    Timeout,
}

pub fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Merges `change` into that part of the Server, if it is still the one that was read.
pub async fn merge(
    client: &Client,
    server: &Server,
    change: Value,
    part: Part,
) -> Result<Written, WriteError> {
    let servers: Api<Server> = Api::all(client.clone());
    tokio::time::timeout(ANSWER_WITHIN, try_merge(&servers, server, change, part, &params()))
        .await
        .map_err(|_| WriteError::Timeout)?
        .map_err(|error| WriteError::Api(Box::new(error)))
}

/// Merges into the Server's metadata what nothing is decided by; the Server as it is then. What fails is logged, and tried
/// again when the machine is heard of again.
pub async fn note(
    kubernetes: &Kubernetes,
    server: &Server,
    mut metadata: Value,
    what: &'static str,
) -> Option<Server> {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    // The uid makes it a conflict on an object that was made anew meanwhile.
    metadata["uid"] = json!(server.metadata.uid);
    let servers: Api<Server> = Api::all(kubernetes.client()?);
    let (params, patch) = (params(), Patch::Merge(json!({ "metadata": metadata })));
    match tokio::time::timeout(ANSWER_WITHIN, servers.patch(name, &params, &patch)).await {
        Ok(Ok(server)) => return Some(server),
        Ok(Err(error)) => {
            tracing::warn!(server = name, error = bloomery_base::chain(&error), "{what} not noted");
        }
        Err(_) => tracing::warn!(server = name, "{what} not noted: no answer"),
    }
    None
}
