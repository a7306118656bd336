//! Reads everything that a decision is made from.

use std::collections::BTreeMap;

use bloomery_api::TalosConfig;
use bloomery_api::contract::{CLUSTER_LABEL, CONTROL_PLANE_LABEL, Machine};
use bloomery_api::controlplane::seen::{Origin, SeenMachine, SeenNode, Talos, View};
use bloomery_machineapi::Credentials;
use bloomery_platform::chain;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, DynamicObject};
use kube::{Api, Resource, ResourceExt};

use super::node::{self, Access};
use super::reconcile::Scene;
use crate::cluster::cluster_name;
use crate::reconcile::{Error, readable};

/// End of the name of the Secret with a cluster's talosconfig, and its key.
const TALOSCONFIG: &str = "-talosconfig";
const TALOSCONFIG_KEY: &str = "talosconfig";
/// A machine that has not been asked.
const NOT_ASKED: &str = "not asked";

pub(super) type Nodes = Result<BTreeMap<String, SeenNode>, String>;

impl Scene<'_> {
    /// The machines of this control plane, the oldest first. Those of another controller are not its own.
    pub(super) async fn machines(&self) -> Result<Vec<Machine>, Error> {
        let cluster = self.cluster_name().or_else(|| cluster_name(&self.control_plane.metadata));
        let Some(cluster) = cluster else { return Ok(Vec::new()) };
        let api: Api<DeserializeGuard<Machine>> = self.api();
        let params =
            ListParams::default().labels(&format!("{CLUSTER_LABEL}={cluster},{CONTROL_PLANE_LABEL}"));
        let operation = Error::api("list the Machines of", self.object());
        let list = api.list(&params).await.map_err(operation)?;
        // One that cannot be read is not absent.
        let machines: Result<Vec<Machine>, Error> = list.items.into_iter().map(readable).collect();
        let is_own = |machine: &Machine| {
            let mut owners = machine.metadata.owner_references.iter().flatten();
            owners.all(|owner| {
                owner.controller != Some(true) || Some(&owner.uid) == self.control_plane.metadata.uid.as_ref()
            })
        };
        let mut machines: Vec<_> = machines?.into_iter().filter(is_own).collect();
        machines.sort_by_key(|machine| {
            (machine.metadata.creation_timestamp.as_ref().map(|time| time.0), machine.name_any())
        });
        Ok(machines)
    }

    /// A machine of which nothing else is looked at.
    pub(super) fn unasked(machine: &Machine) -> SeenMachine {
        SeenMachine { machine: machine.clone(), origin: None, config: None, talos: Talos::silent(NOT_ASKED) }
    }

    pub(super) fn view<'a>(&'a self, machines: &'a [SeenMachine], nodes: &'a Nodes) -> View<'a> {
        View { control_plane: &self.control_plane, cluster: &self.cluster, machines, nodes }
    }

    /// The machines with what they are made of and what their nodes say, and the nodes of the workload cluster. All are asked at
    /// once, so that a silent one costs its limit and no more.
    pub(super) async fn look(&self) -> Result<(Vec<SeenMachine>, Nodes), Error> {
        let machines = self.machines().await?;
        let access = self.access().await;
        let seen = machines.iter().map(|machine| self.see(machine, &access));
        let (seen, nodes) = futures::join!(futures::future::try_join_all(seen), self.nodes());
        Ok((seen?, nodes))
    }

    async fn see(&self, machine: &Machine, access: &Access) -> Result<SeenMachine, Error> {
        let mut seen = Self::unasked(machine);
        let (origin, config) = futures::join!(self.origin(machine), self.config(machine));
        (seen.origin, seen.config) = (origin?, config?);
        seen.talos = if seen.addresses().is_empty() {
            Talos::silent(&format!("no addresses were found for node {:?}", seen.name()))
        } else {
            node::ask(access, &seen).await
        };
        Ok(seen)
    }

    /// Where a machine's infrastructure came from.
    async fn origin(&self, machine: &Machine) -> Result<Option<Origin>, Error> {
        let Some(reference) = &machine.spec.infrastructure_ref else { return Ok(None) };
        let client = &self.shared.frame.urgent;
        let resource = self.shared.kinds.find(client, &reference.api_group, &reference.kind, None).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &self.namespace, &resource);
        let operation = Error::api("get", format!("{} {}", reference.kind, reference.name));
        let found = api.get_metadata_opt(&reference.name).await.map_err(operation)?;
        Ok(found.and_then(|object| Origin::of(&object.metadata)))
    }

    /// A machine's configuration.
    async fn config(&self, machine: &Machine) -> Result<Option<bloomery_api::TalosConfigSpec>, Error> {
        let Some(reference) = &machine.spec.bootstrap.config_ref else { return Ok(None) };
        if reference.kind != TalosConfig::kind(&()) {
            return Ok(None);
        }
        let found = crate::reconcile::read::<TalosConfig>(&self.api(), &reference.name).await?;
        Ok(found.map(|config| config.spec))
    }

    /// How the nodes are reached.
    pub(super) async fn access(&self) -> Access {
        let cluster = self.cluster_name().unwrap_or_default();
        let name = format!("{cluster}{TALOSCONFIG}");
        let secrets: Api<Secret> = self.api();
        let secret = secrets
            .get_opt(&name)
            .await
            .map_err(|error| format!("failed to get Secret {name}: {}", chain(&error)))?;
        let data = secret.as_ref().and_then(|secret| secret.data.as_ref()?.get(TALOSCONFIG_KEY));
        let Some(data) = data else { return Err(format!("there is no Secret {name} yet")) };
        Credentials::from_talosconfig(&String::from_utf8_lossy(&data.0)).map_err(|error| chain(&error))
    }

    /// The control plane nodes of the workload cluster.
    async fn nodes(&self) -> Nodes {
        let cluster = self.cluster_name().unwrap_or_default();
        let told = |error: crate::workload::Error| chain(&error);
        let management = &self.shared.frame.urgent;
        let workload =
            self.shared.workloads.cluster(management, &self.namespace, cluster).await.map_err(told)?;
        workload.control_plane_nodes().await.map_err(told)
    }
}
