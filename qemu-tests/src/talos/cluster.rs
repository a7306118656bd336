//! From blank nodes to a workload cluster, as a user of the plane makes it: machines register, are accepted and wiped;
//! clusterctl's manifest is applied; Talos comes up.
//!
//! Each step is told as it is done; what should hold then is the caller's to check.

use super::{
    ctl::Talosctl,
    manifest::{Shape, Tools},
    node::Node,
    plane,
    site::{ENDPOINT, NodeSite},
    workload::{Workload, secret},
};
use crate::{eventually, forward::Forward, net::Net, plane::save, state::LabDir, switch::Command};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::Client;
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A boot of the agent and a wipe, with the plane's pauses between power commands.
const MACHINE_LIMIT: Duration = Duration::from_mins(5);
/// From the manifest to anything of the cluster.
const CLUSTER_LIMIT: Duration = Duration::from_mins(8);
/// How talosctl finds its nodes.
const TALOSCONFIG: &str = "talosconfig";
/// What the board says when Talos begins.
const MACHINED_STARTS: &str = "board: starts machined";
/// Port of apid.
const MACHINE_API_PORT: u16 = 50_000;
/// Kubernetes' own label.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// The machines of a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Where they are built.
    pub site: NodeSite,
    /// They.
    pub nodes: Vec<Arc<Node>>,
    shape: Shape,
    net: Arc<Net>,
    dir: Arc<LabDir>,
}

/// A cluster that runs.
pub struct Running {
    /// Its Kubernetes API.
    pub workload: Workload,
    /// Its machine API.
    pub talosctl: Talosctl,
    /// Its nodes, all Ready.
    pub nodes: Vec<KubernetesNode>,
    /// Its talosconfig, good on this host while the lab runs.
    pub talosconfig: PathBuf,
    /// Addresses of control planes, then of workers.
    addresses: (Vec<String>, Vec<String>),
    _machine_api: Forward,
}

impl Cluster {
    /// Builds the machines; they are off.
    ///
    /// # Errors
    /// This host or this build lacks something.
    pub async fn build(dir: &Arc<LabDir>, net: &Arc<Net>, shape: Shape) -> Result<Self> {
        let site = NodeSite::open(Arc::clone(dir), Arc::clone(net)).await?;
        let count = shape.control_planes.saturating_add(shape.workers);
        site.balance(count).await?;
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(site.build(&format!("node-{number}"), number).await?);
        }
        Ok(Self { site, nodes, shape, net: Arc::clone(net), dir: Arc::clone(dir) })
    }

    /// Switches them on and waits until the plane has wiped them and switched them off.
    ///
    /// # Errors
    /// One does not come so far in time.
    pub async fn become_clean(
        &self,
        plane: &Client,
        address: Ipv4Addr,
        mut show: impl FnMut(&str),
    ) -> Result<()> {
        plane::prepare(plane, &self.site).await?;
        for node in &self.nodes {
            node.set_plane(address);
            node.obey(Command::On).await?;
        }
        for node in &self.nodes {
            plane::registered(plane, node, MACHINE_LIMIT).await?;
            show(&format!("{}: server {} is registered", node.name, node.identity.uuid));
            plane::accept(plane, node).await?;
        }
        for node in &self.nodes {
            plane::clean(plane, node, MACHINE_LIMIT).await?;
            show(&format!("{}: clean and off", node.name));
        }
        Ok(())
    }

    /// Makes the cluster `name` by its manifest and waits until its nodes are Ready.
    ///
    /// # Errors
    /// A step fails, or takes too long.
    pub async fn create(
        &self,
        client: &Client,
        tools: &Tools,
        name: &str,
        mut show: impl FnMut(&str),
    ) -> Result<Running> {
        let kubeconfig = self.dir.path("kubeconfig");
        let manifest = tools.generate(name, self.shape, ENDPOINT.into(), &kubeconfig).await?;
        let file = self.dir.path(&format!("{name}.yaml"));
        std::fs::write(&file, &manifest).with_context(|| format!("failed to write {}", file.display()))?;
        show("clusterctl generate cluster");
        tools.apply(&manifest, &kubeconfig).await?;
        show("kubectl apply");
        let talosctl = self.talosctl(client, name).await?;
        show("the plane has a talosconfig");
        for node in &self.nodes {
            node.console().wait_for(MACHINED_STARTS, CLUSTER_LIMIT).await?;
            plane::announce(client, node).await?;
            show(&format!("{}: machined starts", node.name));
        }
        let workload = Workload::of_plane(&self.dir, client, name, ENDPOINT.into(), CLUSTER_LIMIT).await?;
        show("the workload's API answers");
        let ready = |name: &str| show(&format!("node {name} is Ready"));
        workload.nodes_ready(self.nodes.len(), CLUSTER_LIMIT, ready).await?;
        let control_planes = usize::from(self.shape.control_planes);
        // Talos labels them and the plane names their providers a moment after they are Ready.
        let nodes = eventually!("nodes have role and provider ID", CLUSTER_LIMIT, None, async {
            let nodes = workload.nodes().await?;
            let labelled = by_role(&nodes).0.len();
            ensure!(labelled == control_planes, "{labelled} of {control_planes} control planes are labelled");
            ensure!(nodes.iter().all(has_provider_id), "a node has no provider ID");
            Ok(Some(nodes))
        })?;
        show("all nodes have their role and provider ID");
        let addresses = by_role(&nodes);
        let first = first_control_plane(&addresses.0)?;
        let machine_api = Forward::to(&self.dir, (first, MACHINE_API_PORT).into()).await?;
        let all = [addresses.0.clone(), addresses.1.clone()].concat();
        talosctl.remember(machine_api.local, &all).await?;
        let talosconfig = self.dir.path(TALOSCONFIG);
        Ok(Running { workload, talosctl, nodes, talosconfig, addresses, _machine_api: machine_api })
    }

    async fn talosctl(&self, plane: &Client, name: &str) -> Result<Talosctl> {
        let text = secret(plane, &format!("{name}-talosconfig"), TALOSCONFIG, CLUSTER_LIMIT).await?;
        let file = self.dir.path(TALOSCONFIG);
        save(&text, &file)?;
        Ok(Talosctl::new(Arc::clone(&self.net), &self.site.parts, &file))
    }

    /// Consoles of all machines, for a failure.
    pub fn consoles(&self) -> String {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let console = |node: &Arc<Node>| format!("{}:\n{}\n", node.name, text(node.console().path()));
        self.nodes.iter().map(console).collect()
    }
}

impl Running {
    /// Waits until talosctl's own checks of a cluster pass.
    ///
    /// # Errors
    /// One does not in time.
    pub async fn health(&self) -> Result<()> {
        let (control_planes, workers) = &self.addresses;
        let first = first_control_plane(control_planes)?;
        let (control_planes, workers) = (control_planes.join(","), workers.join(","));
        let mut words = vec!["health", "--wait-timeout", "15s", "--control-plane-nodes", &control_planes];
        if !workers.is_empty() {
            words.extend(["--worker-nodes", &workers]);
        }
        // etcd's members join one after the other, and a node is Ready before.
        eventually!("talosctl health is green", CLUSTER_LIMIT, None, async {
            self.talosctl.run(first, &words).await.map(Some)
        })?;
        Ok(())
    }
}

/// Addresses of control planes, and of workers.
fn by_role(nodes: &[KubernetesNode]) -> (Vec<String>, Vec<String>) {
    let (control_planes, workers): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| {
        node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE))
    });
    let addresses = |nodes: Vec<&KubernetesNode>| nodes.into_iter().filter_map(address).collect();
    (addresses(control_planes), addresses(workers))
}

fn first_control_plane(addresses: &[String]) -> Result<Ipv4Addr> {
    let first = addresses.first().context("failed to find a control plane")?;
    first.parse().context("failed to parse a control plane's address")
}

fn has_provider_id(node: &KubernetesNode) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.provider_id.is_some())
}

fn address(node: &KubernetesNode) -> Option<String> {
    let all = node.status.as_ref()?.addresses.as_ref()?;
    all.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}
