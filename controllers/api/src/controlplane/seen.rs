//! What is known of a control plane and its machines in one pass.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::contract::{Cluster, Machine, MachineAddress};
use crate::talos_config::TalosConfigSpec;
use crate::talos_control_plane::TalosControlPlane;

/// Annotation of a Machine whose member leaves etcd, or has left: nothing but its deletion follows. Upstream's.
pub const LEAVING_ANNOTATION: &str = "controlplane.cluster.x-k8s.io/etcd-leaving";
/// Annotation of a Machine that a person wants to go first. Cluster API's.
pub const DELETE_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/delete-machine";
/// Annotation with the name of the template that an infrastructure object was made of. Cluster API's.
pub const CLONED_FROM_NAME: &str = "cluster.x-k8s.io/cloned-from-name";
/// Annotation with the template's kind and group, as `Kind.group`. Cluster API's.
pub const CLONED_FROM_GROUP_KIND: &str = "cluster.x-k8s.io/cloned-from-groupkind";

/// A member of etcd, as a node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdMember {
    /// Its number.
    pub id: u64,
    /// Its host name; empty until its first start.
    pub hostname: String,
    /// Whether it has no vote yet.
    pub is_learner: bool,
}

/// A service of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeService {
    /// Its name, such as `etcd`.
    pub id: String,
    /// State of its last event, such as `Running` or `Finished`.
    pub state: String,
    /// Whether it is healthy; `None` while nobody knows.
    pub healthy: Option<bool>,
    /// What its last check of health said.
    pub message: String,
}

impl NodeService {
    /// Name of etcd.
    pub const ETCD: &str = "etcd";
    /// State of a service that runs.
    pub const RUNNING: &str = "Running";
    /// State of a service that ended by itself.
    pub const FINISHED: &str = "Finished";
}

/// What a node's Talos API said, or why it said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talos {
    /// Its services.
    pub services: Result<Vec<NodeService>, String>,
    /// The members of etcd.
    pub members: Result<Vec<EtcdMember>, String>,
    /// Number of its own member, if etcd runs.
    pub own_member: Option<u64>,
}

impl Talos {
    /// Nothing was said.
    pub fn silent(why: &str) -> Self {
        Self { services: Err(why.to_owned()), members: Err(why.to_owned()), own_member: None }
    }

    /// The node's etcd, if its services are known.
    pub fn etcd(&self) -> Option<&NodeService> {
        self.services.as_ref().ok()?.iter().find(|service| service.id == NodeService::ETCD)
    }

    /// Whether etcd runs and is healthy.
    pub fn has_healthy_etcd(&self) -> bool {
        self.etcd().is_some_and(|etcd| etcd.state == NodeService::RUNNING && etcd.healthy == Some(true))
    }
}

/// Where an infrastructure object came from, by its annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the template.
    pub name: String,
    /// `Kind.group` of the template.
    pub group_kind: String,
}

impl Origin {
    /// By an object's annotations; `None` if it has not both.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        let annotation = |key: &str| meta.annotations.as_ref()?.get(key).cloned();
        Some(Self { name: annotation(CLONED_FROM_NAME)?, group_kind: annotation(CLONED_FROM_GROUP_KIND)? })
    }
}

/// A machine of the control plane.
#[derive(Clone, Debug)]
pub struct SeenMachine {
    /// The Machine.
    pub machine: Machine,
    /// Where its infrastructure came from, if that is known.
    pub origin: Option<Origin>,
    /// Its configuration, if there is one.
    pub config: Option<TalosConfigSpec>,
    /// What its node said.
    pub talos: Talos,
}

impl SeenMachine {
    /// Its name.
    pub fn name(&self) -> &str {
        self.machine.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether it is on its way out.
    pub fn is_deleting(&self) -> bool {
        self.machine.metadata.deletion_timestamp.is_some()
    }

    /// Whether its member leaves etcd, or has left.
    pub fn is_leaving(&self) -> bool {
        has_annotation(&self.machine.metadata, LEAVING_ANNOTATION)
    }

    /// The addresses of its Talos API, those inside of the machines' network first.
    pub fn addresses(&self) -> Vec<String> {
        let types = [MachineAddress::INTERNAL_IP, MachineAddress::EXTERNAL_IP];
        types.iter().flat_map(|type_| self.machine.addresses(type_)).map(str::to_owned).collect()
    }

    /// Whether there is infrastructure for it, and thus perhaps a node that ran.
    pub fn may_have_run(&self) -> bool {
        !self.machine.spec.provider_id.is_empty()
            || self.machine.node().is_some()
            || !self.addresses().is_empty()
    }
}

pub(super) fn has_annotation(meta: &ObjectMeta, key: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(key))
}

/// A node of the workload cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenNode {
    /// Whether it says that it is ready.
    pub is_ready: bool,
}

/// Everything that is known of a control plane.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The control plane.
    pub control_plane: &'a TalosControlPlane,
    /// Its Cluster.
    pub cluster: &'a Cluster,
    /// Its machines, the oldest first.
    pub machines: &'a [SeenMachine],
    /// The control plane nodes of the workload cluster by name, or why its API server said nothing.
    pub nodes: &'a Result<BTreeMap<String, SeenNode>, String>,
}

impl View<'_> {
    /// Number of machines that are wanted.
    pub fn replicas(&self) -> usize {
        let replicas = self.control_plane.spec.replicas.unwrap_or(1);
        usize::try_from(replicas).unwrap_or(0)
    }

    /// Whether etcd was made.
    pub fn is_bootstrapped(&self) -> bool {
        self.control_plane.status.as_ref().is_some_and(|status| status.bootstrapped)
    }

    /// The node of a machine.
    pub fn node(&self, machine: &SeenMachine) -> Option<SeenNode> {
        self.nodes.as_ref().ok()?.get(machine.machine.node()?).copied()
    }
}
