//! Writes a plan's change of the spec, which only `any` ever has.
//!
//! Never creates a class: see `keep`.

use bloomery_api::ServerClass;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tracing::info;

use super::plan::Plan;
use crate::reconcile::Error;

/// Patches the spec if the plan says so.
pub(super) async fn apply(client: &Client, name: &str, plan: &Plan) -> Result<(), Error> {
    let Some(patch) = &plan.spec else { return Ok(()) };
    let classes: Api<ServerClass> = Api::all(client.clone());
    classes
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(Error::api("patch", format!("ServerClass {name}")))?;
    info!(class = name, "qualifiers emptied again");
    Ok(())
}
