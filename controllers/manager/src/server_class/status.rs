//! Writes a plan's lists of members.
//!
//! Nobody else writes them, so the last count wins.

use bloomery_api::ServerClass;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tracing::debug;

use super::plan::Plan;
use crate::reconcile::Error;

/// Patches the status if it changes.
pub(super) async fn write(client: &Client, name: &str, plan: &Plan) -> Result<(), Error> {
    let Some(status) = &plan.status else { return Ok(()) };
    let classes: Api<ServerClass> = Api::all(client.clone());
    classes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
        .await
        .map_err(Error::api("patch status of", format!("ServerClass {name}")))?;
    debug!(
        class = name,
        available = status.servers_available.len(),
        in_use = status.servers_in_use.len(),
        "members counted"
    );
    Ok(())
}
