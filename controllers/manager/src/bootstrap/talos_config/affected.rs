//! The TalosConfigs that a change of something else concerns.

use std::sync::Arc;

use bloomery_api::bootstrap::generation::is_control_plane;
use bloomery_api::contract::{
    CONTROL_PLANE_LABEL, Cluster, ContractReference, Machine, MachineBootstrap, MachinePool,
};
use bloomery_api::{BOOTSTRAP_GROUP, TalosConfig};
use bloomery_platform::watch::Cache;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::Guarded;
use crate::cluster::{CLUSTER_LABEL, GROUP, owner};
use crate::watch::SecretMeta;

/// Where they are looked for.
#[derive(Clone)]
pub(super) struct Affected {
    pub(super) configs: Cache<Guarded>,
    pub(super) machines: Cache<DeserializeGuard<Machine>>,
}

impl Affected {
    /// The one that it has its configuration from; by a node of the control plane all of the control plane, whose client
    /// configuration names its addresses.
    pub(super) fn by_machine(&self, machine: &DeserializeGuard<Machine>) -> Vec<ObjectRef<Guarded>> {
        let namespace = machine.namespace().unwrap_or_default();
        let Ok(found) = &machine.0 else { return Vec::new() };
        let mut all: Vec<_> = named(&found.spec.bootstrap, &namespace).into_iter().collect();
        if machine.labels().contains_key(CONTROL_PLANE_LABEL) {
            let makes_client_config = |config: &TalosConfig| is_control_plane(&config.spec.generate_type);
            all.extend(self.of_cluster(&namespace, &found.spec.cluster_name, makes_client_config));
        }
        all
    }

    /// All of its machines.
    pub(super) fn by_cluster(&self, cluster: &DeserializeGuard<Cluster>) -> Vec<ObjectRef<Guarded>> {
        self.of_cluster(&cluster.namespace().unwrap_or_default(), &cluster.name_any(), |_| true)
    }

    /// The one whose configuration it is, or all that share it.
    pub(super) fn by_secret(&self, secret: &SecretMeta) -> Vec<ObjectRef<Guarded>> {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        let Some(cluster) = secret.labels().get(CLUSTER_LABEL) else { return Vec::new() };
        let is_shared = name
            .strip_prefix(cluster.as_str())
            .is_some_and(|rest| ["-talos", "-ca", "-talosconfig"].contains(&rest));
        let mut all = self.of_cluster(&namespace, cluster, |config| {
            let data = config.status.as_ref().and_then(|status| status.data_secret_name.as_deref());
            is_shared || data == Some(name.as_str())
        });
        all.extend(self.waiting_for(&namespace, &name));
        all
    }

    /// Those that have no configuration yet and whose own this is.
    fn waiting_for(&self, namespace: &str, secret: &str) -> Option<ObjectRef<Guarded>> {
        let owner = secret.strip_suffix("-bootstrap-data").unwrap_or_default();
        let machine = self.machines.get(&ObjectRef::new(owner).within(namespace));
        let bootstrap = machine.and_then(|machine| Some(machine.0.as_ref().ok()?.spec.bootstrap.clone()));
        bootstrap.and_then(|bootstrap| named(&bootstrap, namespace))
    }

    fn of_cluster(
        &self,
        namespace: &str,
        cluster: &str,
        wanted: impl Fn(&TalosConfig) -> bool,
    ) -> Vec<ObjectRef<Guarded>> {
        let is_of = |found: &Arc<Guarded>| {
            let Ok(config) = &found.0 else { return false };
            found.namespace().as_deref() == Some(namespace)
                && wanted(config)
                && self.cluster_of(found, namespace).as_deref() == Some(cluster)
        };
        self.configs.known().into_iter().filter(is_of).map(|one| ObjectRef::from_obj(one.as_ref())).collect()
    }

    /// By its owner, as the reconcile has it; the label is for those whose owner is not known yet.
    fn cluster_of(&self, config: &Guarded, namespace: &str) -> Option<String> {
        let machine = owner(config.meta(), GROUP, "Machine")
            .and_then(|owner| self.machines.get(&ObjectRef::new(&owner.name).within(namespace)));
        let named = machine.and_then(|machine| Some(machine.0.as_ref().ok()?.spec.cluster_name.clone()));
        named.or_else(|| config.labels().get(CLUSTER_LABEL).cloned())
    }
}

/// The one that all machines of a pool have their configuration from.
pub(super) fn by_pool(pool: &DeserializeGuard<MachinePool>) -> Option<ObjectRef<Guarded>> {
    let namespace = pool.namespace().unwrap_or_default();
    named(&pool.0.as_ref().ok()?.spec.template.spec.bootstrap, &namespace)
}

/// In any version.
fn named(bootstrap: &MachineBootstrap, namespace: &str) -> Option<ObjectRef<Guarded>> {
    let ContractReference { api_group, kind, name } = bootstrap.config_ref.as_ref()?;
    let is_ours = api_group == BOOTSTRAP_GROUP && kind == "TalosConfig";
    is_ours.then(|| ObjectRef::new(name).within(namespace))
}
