//! A ServerBinding's `status.ready`: whether the Server of its name exists.
//!
//! Never says that of a list that is not complete.

use std::collections::HashSet;

use bloomery_api::ServerBinding;
use bloomery_api::plane::fence::is_moving;
use bloomery_plane::Gate;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::{Change, Feed};
use futures::{Stream, StreamExt};
use kube::api::PatchParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::reconcile::{Error, Frame, readable};
use crate::table::key;
use crate::watch::{GuardedBinding, GuardedServer, Servers};

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
    let known =
        binding.0.as_ref().ok().and_then(|binding| binding.status.as_ref()).map(|status| status.ready);
    if known == Some(exists) || is_moving(binding.meta()) {
        return Ok(Action::await_change());
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
