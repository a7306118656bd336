//! Writes on a Server that was read: for exactly that object in exactly that version.
//!
//! It must never write on top of what it has not seen; when the object changed in between, the caller looks and decides
//! again.

use bloomery_api::Server;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::ANSWER_WITHIN;

/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "bootsvc";

/// What of a Server is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself.
    Object,
    /// Its status.
    Status,
}

/// What became of a write.
pub enum Written {
    /// The object as it is now.
    Done(Box<Server>),
    /// The object changed since it was read: look again.
    Changed,
}

/// A write that failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API refused, or could not be reached.
    #[error("failed to write a Server")]
    Api(#[source] Box<kube::Error>),
    /// No answer came in time.
    #[error("failed to write a Server in time")]
    Timeout,
}

/// Parameters of our patches.
pub fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Merges `change` into that part of the Server, if it is still the one that was read.
pub async fn merge(
    client: &Client,
    server: &Server,
    mut change: Value,
    part: Part,
) -> Result<Written, WriteError> {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    change["metadata"]["uid"] = json!(server.metadata.uid);
    change["metadata"]["resourceVersion"] = json!(server.metadata.resource_version);
    let servers: Api<Server> = Api::all(client.clone());
    let (params, patch) = (params(), Patch::Merge(change));
    let written = match part {
        Part::Object => tokio::time::timeout(ANSWER_WITHIN, servers.patch(name, &params, &patch)).await,
        Part::Status => {
            tokio::time::timeout(ANSWER_WITHIN, servers.patch_status(name, &params, &patch)).await
        }
    };
    match written.map_err(|_| WriteError::Timeout)? {
        Ok(server) => Ok(Written::Done(Box::new(server))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            Ok(Written::Changed)
        }
        Err(error) => Err(WriteError::Api(Box::new(error))),
    }
}
