//! A ServerBinding's `status.ready`: whether the Server of its name exists.
//!
//! Never says that of a list that is not complete.

use std::collections::HashSet;
use std::time::Duration;

use bloomery_api::ServerBinding;
use bloomery_api::plane::fence::is_moving;
use bloomery_plane::Gate;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::{Change, Feed};
use futures::{Stream, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::reconcile::{Error, Frame, readable};
use crate::table::key;
use crate::watch::{GuardedBinding, GuardedServer, Servers};

/// For how long the first word on a new binding is left to the metadata controller.
const OF_METADATA: Duration = Duration::from_secs(3);

/// Names of Servers that came or went: other changes of a Server change no binding.
pub fn appearances(
    servers: &mut Feed<GuardedServer>,
) -> impl Stream<Item = ObjectRef<GuardedBinding>> + Send + use<> {
    let mut known = HashSet::new();
    servers.subscribe().filter_map(move |change| {
        let news = match change {
            Change::Applied(server) => {
                let name = server.name_any();
                known.insert(name.clone()).then_some(name)
            }
            Change::Deleted(server) => {
                let name = server.name_any();
                known.remove(&name).then_some(name)
            }
            Change::Listed => None,
        };
        std::future::ready(news.map(|name| ObjectRef::new(&name)))
    })
}

/// Writes it if it changes.
pub async fn keep_ready(
    frame: &Frame,
    gate: &Gate,
    binding: &GuardedBinding,
    servers: &Servers,
) -> Result<Action, Error> {
    if !servers.is_listed() {
        return Ok(Action::requeue(frame.resync()));
    }
    let exists = servers.named(&binding.name_any()).is_some();
    let status = binding.0.as_ref().ok().and_then(|binding| binding.status.as_ref());
    if status.map(|status| status.ready) == Some(exists) || is_moving(binding.meta()) {
        return Ok(Action::await_change());
    }
    // The metadata controller says it with the first word on the configuration: one write for both.
    let made = binding.meta().creation_timestamp.as_ref().map(|made| Timestamp::now().duration_since(made.0));
    let is_new = made.and_then(|age| age.try_into().ok()).is_some_and(|age: Duration| age < OF_METADATA);
    if exists && is_new && status.is_none_or(|status| status.conditions.is_empty()) {
        return Ok(Action::requeue(OF_METADATA));
    }
    if !gate.current().await.acts() {
        return Ok(Action::requeue(frame.resync()));
    }
    let work = async {
        let binding = readable(binding.clone())?;
        let name = binding.name_any();
        let bindings: Api<ServerBinding> = Api::all(frame.client.clone());
        let change = json!({ "status": { "ready": exists } });
        patch::merge(&bindings, &binding, change, Part::Status, &PatchParams::default())
            .await
            .map_err(Error::api("patch status of", format!("ServerBinding {name}")))?;
        Ok(Action::await_change())
    };
    frame.observe(&key(binding), Box::pin(work)).await
}
