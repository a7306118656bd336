//! Lets Servers go. What is decided on caches is decided once more on objects that were read for it: a Cluster that was
//! paused a moment ago, or an object that is being moved, keeps its Servers.

use bloomery_api::infrastructure::machine::{Step, decide, is_for};
use bloomery_api::metal_machine::FINALIZER;
use bloomery_api::{MetalMachine, ServerBinding};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::info;

use super::bind::only;
use super::{Scene, place_of};
use crate::cluster::CLUSTER_LABEL;
use crate::reconcile::{self, Error};
use crate::table::key;

impl Scene<'_> {
    /// Deletes the bindings that the machine is to lose, if that is still so.
    pub(super) async fn release(&self, machine: &MetalMachine) -> Result<(), Error> {
        let (namespace, name) = place_of(&machine.metadata);
        let client = &self.shared.frame.claims;
        let machines = Api::namespaced(client.clone(), &namespace);
        let Some(fresh) = reconcile::read::<MetalMachine>(&machines, &name).await? else { return Ok(()) };
        let known = self.read_fresh(&fresh).await?;
        let own = known.own(&fresh);
        let Step::Release(bindings) = decide(&known.view(&fresh, &own)).step else { return Ok(()) };
        let all: Api<ServerBinding> = Api::all(client.clone());
        for binding in bindings {
            let server = binding.name_any();
            match all.delete(&server, &only(binding)).await {
                Ok(_) => info!(server, machine = name, namespace, "server let go"),
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => return Err(Error::api("delete", format!("ServerBinding {server}"))(error)),
            }
        }
        Ok(())
    }

    /// Takes the finalizer off, unless the API server has a binding for the machine that the cache does not show.
    pub(super) async fn let_go(&self, machine: &MetalMachine) -> Result<Action, Error> {
        let bindings: Api<DeserializeGuard<ServerBinding>> = Api::all(self.shared.frame.claims.clone());
        // Bindings have the labels of their machine; one that was made by hand is old enough for the cache.
        let cluster = machine.metadata.labels.as_ref().and_then(|labels| labels.get(CLUSTER_LABEL));
        let params = cluster.map_or_else(ListParams::default, |cluster| {
            ListParams::default().labels(&format!("{CLUSTER_LABEL}={cluster}"))
        });
        let found = bindings.list(&params).await.map_err(Error::api("list", "ServerBindings".to_owned()))?;
        let is_of = |binding: &DeserializeGuard<ServerBinding>| {
            binding.0.as_ref().is_ok_and(|binding| is_for(binding, machine))
        };
        if found.items.iter().any(is_of) {
            return Ok(Action::requeue(super::AFTER_STEPS));
        }
        let others = machine.metadata.finalizers.iter().flatten().filter(|name| *name != FINALIZER);
        let finalizers: Vec<&str> = others.map(String::as_str).collect();
        match self.patch(machine, json!({ "metadata": { "finalizers": finalizers } })).await {
            Ok(_) => {
                info!(machine = machine.name_any(), "metal machine let go");
                self.shared.frame.forget(&key(machine));
                Ok(Action::await_change())
            }
            Err(Error::Api { source, .. }) if is_gone(&source) => Ok(Action::await_change()),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}
