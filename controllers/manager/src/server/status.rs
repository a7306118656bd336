//! Writes a plan's status and records its events.
//!
//! Never overwrites what another wrote since the Server was read: the patch carries the version it is of.

use bloomery_api::{Server, ServerStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use super::plan::Plan;
use crate::reconcile::{Context, Error};

/// Patches the status if it changes, then records the events.
pub(super) async fn write(context: &Context, server: &Server, plan: &Plan) -> Result<(), Error> {
    let name = server.name_any();
    if let Some(status) = &plan.status {
        let servers: Api<Server> = Api::all(context.client.clone());
        servers
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch(server, status)))
            .await
            .map_err(Error::api("patch status of", format!("Server {name}")))?;
        info!(
            server = name,
            standing = plan.standing.reason(),
            ready = status.ready,
            "server status changed"
        );
    }
    for notice in &plan.notices {
        context.notify(&server.object_ref(&()), notice).await;
    }
    Ok(())
}

/// Only the fields this controller decides; addresses belong to the boot services.
fn patch(server: &Server, status: &ServerStatus) -> Value {
    let ServerStatus { ready, in_use, is_clean, conditions, addresses: _, power } = status;
    json!({
        "metadata": { "resourceVersion": server.metadata.resource_version },
        "status": {
            "ready": ready, "inUse": in_use, "isClean": is_clean, "conditions": conditions, "power": power,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_is_bound_to_a_version_and_leaves_addresses_alone() {
        let mut server = Server::new("a", bloomery_api::ServerSpec::default());
        server.metadata.resource_version = Some("7".to_owned());
        let patch = patch(&server, &ServerStatus::default());
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert!(patch["status"].get("addresses").is_none());
        assert_eq!(patch["status"]["isClean"], false);
    }
}
