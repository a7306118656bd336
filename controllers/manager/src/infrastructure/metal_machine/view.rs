//! Everything that a step is decided by: from the caches, or read for it.

use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::decision::Standing;
use bloomery_api::evidence::Evidence;
use bloomery_api::infrastructure::machine::{View, is_for};
use bloomery_api::{MetalCluster, MetalMachine, Server, ServerBinding};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::{Scene, place_of};
use crate::cluster::{GROUP, cluster_name, is_paused, owner};
use crate::reconcile::{Error, read, readable};

/// What was seen.
pub(super) struct Known {
    pub(super) owner: Option<Machine>,
    pub(super) cluster: Option<Cluster>,
    pub(super) metal_cluster: Option<MetalCluster>,
    bindings: Vec<ServerBinding>,
    pub(super) server: Option<(Server, Standing)>,
    is_paused: bool,
}

impl Known {
    /// The bindings that name the machine, the oldest first.
    pub(super) fn own(&self, machine: &MetalMachine) -> Vec<&ServerBinding> {
        let mut own: Vec<_> = self.bindings.iter().filter(|binding| is_for(binding, machine)).collect();
        own.sort_by_key(|binding| {
            let made = binding.metadata.creation_timestamp.as_ref().map(|made| made.0);
            (made, binding.metadata.name.clone())
        });
        own
    }

    pub(super) fn view<'a>(&'a self, machine: &'a MetalMachine, own: &'a [&'a ServerBinding]) -> View<'a> {
        let named = machine.server_name();
        let at_reference =
            self.bindings.iter().find(|binding| named.is_some() && binding.metadata.name.as_deref() == named);
        View {
            machine,
            owner: self.owner.as_ref(),
            cluster: self.cluster.as_ref(),
            is_paused: self.is_paused,
            own,
            at_reference,
            server: self.server.as_ref().map(|(server, standing)| (server, *standing)),
        }
    }

    /// Host of the control plane's endpoint: the Cluster's, or the one that the user gave for it.
    pub(super) fn endpoint(&self) -> Option<&str> {
        let of_cluster =
            self.cluster.as_ref().and_then(|cluster| cluster.spec.control_plane_endpoint.as_ref());
        let of_infrastructure = self.metal_cluster.as_ref();
        let given = of_infrastructure.and_then(|cluster| cluster.spec.control_plane_endpoint.as_ref());
        let hosts = [of_cluster.map(|endpoint| &endpoint.host), given.map(|endpoint| &endpoint.host)];
        hosts.into_iter().flatten().map(String::as_str).find(|host| !host.is_empty())
    }

    /// Key of the Servers' label with the failure domain, or empty.
    pub(super) fn domain_label(&self) -> &str {
        self.metal_cluster.as_ref().map_or("", |cluster| &cluster.spec.failure_domain_label)
    }
}

impl Scene<'_> {
    /// As the caches have it, with a binding that was just `made`. An object that cannot be read is an error: it is not
    /// taken for none.
    pub(super) fn see(&self, machine: &MetalMachine, made: Option<&ServerBinding>) -> Result<Known, Error> {
        let (namespace, name) = place_of(&machine.metadata);
        let shared = self.shared;
        let owner = owner(&machine.metadata, GROUP, "Machine").map(|owner| owner.name.as_str());
        let owner = owner.and_then(|name| shared.machines.get(&reference(name, &namespace)));
        let owner = owner.map(|owner| readable(owner.as_ref().clone())).transpose()?;
        let cluster = cluster_name(&machine.metadata);
        let cluster = cluster.and_then(|name| shared.clusters.get(&reference(name, &namespace)));
        let cluster = cluster.map(|cluster| readable(cluster.as_ref().clone())).transpose()?;
        let mut bindings = Vec::new();
        for guarded in shared.bindings.known() {
            match &guarded.0 {
                Ok(binding) => {
                    let is_named = binding.metadata.name.as_deref() == machine.server_name();
                    if is_named || is_for(binding, machine) {
                        bindings.push(binding.clone());
                    }
                }
                Err(_) if Some(guarded.name_any().as_str()) == machine.server_name() => {
                    readable(guarded.as_ref().clone())?;
                }
                Err(_) => {}
            }
        }
        let is_unseen =
            |made: &&ServerBinding| bindings.iter().all(|known| known.metadata.name != made.metadata.name);
        bindings.extend(made.filter(is_unseen).cloned());
        let server = machine.server_name().and_then(|name| shared.servers.named(name));
        let server = server.map(|server| readable(server.as_ref().clone())).transpose()?;
        let server = server.map(|server| {
            let standing = self.standing(&server);
            (server, standing)
        });
        tracing::trace!(namespace, name, bindings = bindings.len(), "machine seen");
        Ok(self.known(machine, owner, cluster, bindings, server))
    }

    /// The same of what decides a deletion, read for it.
    pub(super) async fn read_fresh(&self, machine: &MetalMachine) -> Result<Known, Error> {
        let (namespace, _) = place_of(&machine.metadata);
        let client = &self.shared.frame.claims;
        let owner = match owner(&machine.metadata, GROUP, "Machine") {
            Some(owner) => read::<Machine>(&Api::namespaced(client.clone(), &namespace), &owner.name).await?,
            None => None,
        };
        let cluster = match cluster_name(&machine.metadata) {
            Some(name) => read::<Cluster>(&Api::namespaced(client.clone(), &namespace), name).await?,
            None => None,
        };
        let mut bindings = Vec::new();
        let all: Api<DeserializeGuard<ServerBinding>> = Api::all(client.clone());
        for guarded in self.shared.bindings.known() {
            let is_of = match &guarded.0 {
                Ok(binding) => is_for(binding, machine),
                Err(_) => false,
            };
            if is_of || Some(guarded.name_any().as_str()) == machine.server_name() {
                bindings.extend(read(&all, &guarded.name_any()).await?);
            }
        }
        Ok(self.known(machine, owner, cluster, bindings, None))
    }

    fn known(
        &self,
        machine: &MetalMachine,
        owner: Option<Machine>,
        cluster: Option<Cluster>,
        bindings: Vec<ServerBinding>,
        server: Option<(Server, Standing)>,
    ) -> Known {
        let namespace = machine.metadata.namespace.as_deref().unwrap_or_default();
        let infrastructure = cluster.as_ref().and_then(|cluster| cluster.spec.infrastructure_ref.as_ref());
        let named = infrastructure.filter(|infrastructure| infrastructure.kind == "MetalCluster");
        let metal_cluster =
            named.and_then(|named| self.shared.metal_clusters.get(&reference(&named.name, namespace)));
        let metal_cluster = metal_cluster.and_then(|cluster| cluster.0.as_ref().ok().cloned());
        let is_paused = is_paused(&machine.metadata, cluster.as_ref());
        Known { owner, cluster, metal_cluster, bindings, server, is_paused }
    }

    /// Where a Server stands without a binding; not free while conflicts with others cannot be told.
    pub(super) fn standing(&self, server: &Server) -> Standing {
        let Some(judged) = self.shared.fleet.judge(server, self.authority) else {
            return Standing::Unconfirmed;
        };
        let evidence = Evidence::of(server, self.authority);
        Standing::of(Some(server), None, &evidence, judged.conflict.as_ref())
    }
}

fn reference<K>(name: &str, namespace: &str) -> ObjectRef<DeserializeGuard<K>>
where
    K: kube::Resource<DynamicType = ()>,
{
    ObjectRef::new(name).within(namespace)
}
