//! Writes a plan's change of the metadata.
//!
//! Never touches `spec`: that is the user's.

use bloomery_api::Server;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tracing::info;

use super::plan::Plan;
use crate::reconcile::Error;

/// Patches the metadata if the plan says so. `None` when the Server is gone afterwards.
pub(super) async fn apply(
    client: &Client,
    name: &str,
    server: &Server,
    plan: &Plan,
) -> Result<Option<Server>, Error> {
    let Some(patch) = &plan.metadata else { return Ok(Some(server.clone())) };
    let servers: Api<Server> = Api::all(client.clone());
    let patched = servers
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(Error::api("patch metadata of", format!("Server {name}")))?;
    if plan.vanishes {
        info!(server = name, "released a deleted Server");
        return Ok(None);
    }
    Ok(Some(patched))
}
