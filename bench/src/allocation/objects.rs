//! The objects of the clusters, as a user and Cluster API make them.

use anyhow::{Context as _, ensure};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

/// Where all of them are.
pub(super) const NAMESPACE: &str = "default";
/// Clusters that the machines are spread over.
pub(super) const CLUSTERS: u32 = 10;
/// Address of each control plane (RFC 5737: nobody answers there).
pub(super) const ENDPOINT: &str = "192.0.2.50";
pub(super) const PORT: u16 = 6443;
/// The class that every accepted Server belongs to.
const CLASS: &str = "any";
/// Label of all objects of a Cluster.
const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";
/// Type of Cluster API's Secrets.
const SECRET_TYPE: &str = "cluster.x-k8s.io/secret";

const CORE: &str = "cluster.x-k8s.io";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster,
    MetalCluster,
    Secret,
    Machine,
    MetalMachine,
    ServerBinding,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Cluster => (CORE, "v1beta2", "Cluster", "clusters"),
            Self::MetalCluster => (INFRASTRUCTURE, "v1alpha3", "MetalCluster", "metalclusters"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Machine => (CORE, "v1beta2", "Machine", "machines"),
            Self::MetalMachine => (INFRASTRUCTURE, "v1alpha3", "MetalMachine", "metalmachines"),
            Self::ServerBinding => (INFRASTRUCTURE, "v1alpha3", "ServerBinding", "serverbindings"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Its objects, as far as they are asked for.
    pub(super) fn api(self, client: &Client) -> Api<DynamicObject> {
        match self {
            Self::ServerBinding => Api::all_with(client.clone(), &self.resource()),
            Self::Cluster | Self::MetalCluster | Self::Secret | Self::Machine | Self::MetalMachine => {
                Api::namespaced_with(client.clone(), NAMESPACE, &self.resource())
            }
        }
    }

    fn object(self, name: &str, data: Value) -> DynamicObject {
        let mut object = DynamicObject::new(name, &self.resource());
        object.data = data;
        object
    }
}

/// Name of the Cluster of a machine; machines take turns.
fn cluster_of(machine: u32) -> String {
    cluster_name(machine % CLUSTERS)
}

/// Name of a Cluster.
pub(super) fn cluster_name(number: u32) -> String {
    format!("bench-{number}")
}

/// Name of a machine, of all its objects.
pub(super) fn machine_name(number: u32) -> String {
    format!("bench-{number:05}")
}

/// A Cluster and its MetalCluster, as a user's manifest has them.
pub(super) fn cluster(number: u32) -> [(Kind, DynamicObject); 2] {
    let name = cluster_name(number);
    let endpoint = json!({ "host": ENDPOINT, "port": PORT });
    let reference = json!({ "apiGroup": INFRASTRUCTURE, "kind": "MetalCluster", "name": name });
    let spec = json!({ "spec": { "infrastructureRef": reference } });
    let infrastructure = json!({ "spec": { "controlPlaneEndpoint": endpoint } });
    [
        (Kind::MetalCluster, Kind::MetalCluster.object(&name, infrastructure)),
        (Kind::Cluster, Kind::Cluster.object(&name, spec)),
    ]
}

/// The data secret of a machine, as the bootstrap provider makes it.
pub(super) fn secret(number: u32, data: &str) -> DynamicObject {
    let name = machine_name(number);
    labelled(
        number,
        Kind::Secret.object(
            &name,
            json!({ "type": SECRET_TYPE, "stringData": { "format": "talos", "value": data } }),
        ),
    )
}

/// A Machine whose bootstrap data is there, as a MachineSet makes it.
pub(super) fn machine(number: u32) -> DynamicObject {
    let name = machine_name(number);
    let spec = json!({
        "clusterName": cluster_of(number),
        "bootstrap": { "dataSecretName": name },
        "infrastructureRef": { "apiGroup": INFRASTRUCTURE, "kind": "MetalMachine", "name": name },
    });
    labelled(number, Kind::Machine.object(&name, json!({ "spec": spec })))
}

/// The MetalMachine of a Machine, as Cluster API owns it.
pub(super) fn metal_machine(number: u32, machine: &DynamicObject) -> anyhow::Result<DynamicObject> {
    let name = machine_name(number);
    ensure!(machine.name_any() == name, "failed to find the Machine {name}: it is {}", machine.name_any());
    let class = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "name": CLASS });
    let mut object =
        labelled(number, Kind::MetalMachine.object(&name, json!({ "spec": { "serverClassRef": class } })));
    let owner = json!([{
        "apiVersion": format!("{CORE}/v1beta2"), "kind": "Machine", "name": name,
        "uid": machine.uid().context("failed to read the uid of a Machine")?,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    object.metadata.owner_references =
        Some(serde_json::from_value(owner).context("failed to make an owner reference")?);
    Ok(object)
}

fn labelled(number: u32, mut object: DynamicObject) -> DynamicObject {
    object.labels_mut().insert(CLUSTER_LABEL.to_owned(), cluster_of(number));
    object
}
