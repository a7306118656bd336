//! Writes a plan's change of the metadata, first the Server's, then its binding's.
//!
//! Never touches `spec`: that is the user's. Never lets a binding go before the record of it was written.

use bloomery_api::decision::records::BindingFinalizer;
use bloomery_api::server_binding::RELEASE_FINALIZER;
use bloomery_api::{Server, ServerBinding};
use bloomery_platform::patch::{self, Part};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tracing::info;

use super::plan::Plan;
use crate::reconcile::Error;

/// Patches the metadata if the plan says so. `None` when the Server is gone afterwards.
pub(super) async fn apply(
    client: &Client,
    name: &str,
    server: &Server,
    binding: Option<&ServerBinding>,
    plan: &Plan,
) -> Result<Option<Server>, Error> {
    let server = match &plan.metadata {
        None => server.clone(),
        Some(patch) => {
            let servers: Api<Server> = Api::all(client.clone());
            let patched = servers
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map_err(Error::api("patch metadata of", format!("Server {name}")))?;
            if plan.vanishes {
                info!(server = name, "released a deleted Server");
                return Ok(None);
            }
            patched
        }
    };
    if let Some(binding) = binding {
        binding_finalizer(client, name, binding, plan.binding_finalizer).await?;
    }
    Ok(Some(server))
}

/// Adds or removes our finalizer of a binding, if nobody wrote it since it was read.
pub(super) async fn binding_finalizer(
    client: &Client,
    name: &str,
    binding: &ServerBinding,
    change: BindingFinalizer,
) -> Result<(), Error> {
    let others = binding.metadata.finalizers.iter().flatten().filter(|one| *one != RELEASE_FINALIZER);
    let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
    match change {
        BindingFinalizer::Keep => return Ok(()),
        BindingFinalizer::Add => finalizers.push(RELEASE_FINALIZER),
        BindingFinalizer::Remove => {}
    }
    let body = json!({ "metadata": { "finalizers": finalizers } });
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    patch::merge(&bindings, binding, body, Part::Object, &PatchParams::default())
        .await
        .map_err(Error::api("patch metadata of", format!("ServerBinding {name}")))?;
    if change == BindingFinalizer::Remove {
        info!(server = name, "binding released");
    }
    Ok(())
}
