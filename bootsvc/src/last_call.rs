//! Notes on a Server that nobody accepted on which day its machine asked for something last: the controllers remove those
//! that are silent for long ([`bloomery_api::decision::age`]).
//!
//! Any call that names the machine counts, proven or not: it keeps a Server and does nothing else.
//! It must never write more often than once a day for one Server.

use bloomery_api::Server;
use bloomery_api::decision::age::{LAST_CALL_ANNOTATION, call_to_note};
use bloomery_api::plane::Authority;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::kubernetes::Kubernetes;
use crate::writes;

/// Notes the day on the Server as it was read, unless it says so; the Server as it is then.
pub async fn note(kubernetes: &Kubernetes, authority: &Authority, server: &Server) -> Option<Server> {
    let day = call_to_note(server, Timestamp::now()).filter(|_| authority.acts())?;
    let metadata = json!({ "annotations": { LAST_CALL_ANNOTATION: day } });
    let noted = writes::note(kubernetes, server, metadata, "last call").await?;
    tracing::debug!(server = noted.metadata.name, day, "last call noted");
    Some(noted)
}
