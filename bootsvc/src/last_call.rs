//! Notes on a Server that nobody accepted on which day its machine asked for something last: the controllers remove those
//! that are silent for long ([`bloomery_api::decision::age`]).
//!
//! Any call that names the machine counts, proven or not: it keeps a Server and does nothing else.
//! It must never write more often than once a day for one Server.

use bloomery_api::Server;
use bloomery_api::decision::age::{LAST_CALL_ANNOTATION, call_to_note};
use bloomery_api::plane::Authority;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::Patch;
use serde_json::json;

use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};
use crate::writes::params;

/// Notes the day on the Server as it was read, unless it says so; the Server as it is then. What fails is tried again
/// with the machine's next call.
pub async fn note(kubernetes: &Kubernetes, authority: &Authority, server: &Server) -> Option<Server> {
    let day = call_to_note(server, Timestamp::now()).filter(|_| authority.acts())?;
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let servers: Api<Server> = Api::all(kubernetes.client()?);
    // The uid makes it a conflict on an object that was made anew meanwhile; no version: nothing is decided by it here.
    let metadata = json!({ "uid": server.metadata.uid, "annotations": { LAST_CALL_ANNOTATION: day } });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    match tokio::time::timeout(ANSWER_WITHIN, servers.patch(name, &params(), &patch)).await {
        Ok(Ok(server)) => {
            tracing::debug!(server = name, day, "last call noted");
            Some(server)
        }
        Ok(Err(error)) => {
            tracing::warn!(server = name, error = bloomery_base::chain(&error), "last call not noted");
            None
        }
        Err(_) => {
            tracing::warn!(server = name, "last call not noted: no answer");
            None
        }
    }
}
