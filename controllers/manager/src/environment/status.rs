//! Writes a plan's conditions and records its events.
//!
//! Nobody else writes them, so the last look wins.

use bloomery_api::Environment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::info;

use super::plan::Plan;
use crate::reconcile::{Context, Error};

/// Patches the status if it changes, then records the events.
pub(super) async fn write(context: &Context, environment: &Environment, plan: &Plan) -> Result<(), Error> {
    let Some(status) = &plan.status else { return Ok(()) };
    let name = environment.name_any();
    let environments: Api<Environment> = Api::all(context.client.clone());
    // An empty list must be sent as one: leaving it out would keep the old one.
    let patch = json!({ "status": { "conditions": status.conditions } });
    let written = environments
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(Error::api("patch status of", format!("Environment {name}")))?;
    info!(environment = name, ready = written.is_ready(), "environment status changed");
    for notice in &plan.notices {
        context.notify(&environment.object_ref(&()), notice).await;
    }
    Ok(())
}
