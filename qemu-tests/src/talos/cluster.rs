//! From blank nodes to a workload cluster, as a user of the plane makes it: machines register, are accepted and wiped;
//! clusterctl's manifest is applied; Talos comes up.
//!
//! Each step is told as it is done; what should hold then is the caller's to check.

use super::{
    balance::ENDPOINT,
    ctl::Talosctl,
    manifest::{Shape, Tools},
    members::{Board, Ground, Member},
    workload::{Workload, secret},
};
use crate::{accel::Accel, eventually, forward::Forward, machine::Site, plane::save, switch::Command};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

/// The lab's file of that name, and the key of the plane's Secret.
pub const TALOSCONFIG: &str = "talosconfig";
/// Port of apid.
const MACHINE_API_PORT: u16 = 50_000;
/// Kubernetes' own label.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// One round of talosctl's checks: short, so that what a check waits for is told when the lab gives up.
const HEALTH_ROUND: Duration = Duration::from_mins(1);
/// Of each console that are shown.
const CONSOLE_LINES: usize = 300;

/// The machines of a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What they are made of.
    pub board: Board,
    /// They, in the order of their numbers.
    pub members: Vec<Member>,
    shape: Shape,
    ground: Ground,
    site: Site,
    /// Names of those that had their configuration.
    configured: Mutex<BTreeSet<String>>,
}

/// A cluster that runs.
pub struct Running {
    /// Its Kubernetes API.
    pub workload: Workload,
    /// Its machine API.
    pub talosctl: Talosctl,
    /// Its nodes, all Ready.
    pub nodes: Vec<KubernetesNode>,
    board: Board,
    /// Addresses of control planes, then of workers.
    addresses: (Vec<String>, Vec<String>),
    _machine_api: Forward,
}

impl Cluster {
    /// Builds the machines; they are off.
    ///
    /// # Errors
    /// This host or this build lacks something.
    pub async fn build(site: &Site, board: Board, shape: Shape) -> Result<Self> {
        let count = shape.control_planes.saturating_add(shape.workers);
        let (ground, members) = Ground::build(site, board, count).await?;
        Ok(Self { board, members, shape, ground, site: site.clone(), configured: Mutex::default() })
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
        self.ground.prepare(plane).await?;
        for member in &self.members {
            if let Member::Ns(node) = member {
                node.set_plane(address);
            }
            member.obey(Command::On).await?;
        }
        for member in &self.members {
            member.registered(plane).await?;
            show(&format!("{}: server {} is registered", member.name(), member.uuid()));
            member.accept(plane).await?;
        }
        for member in &self.members {
            member.clean(plane).await?;
            show(&format!("{}: clean and off", member.name()));
        }
        Ok(())
    }

    /// Whether workers are made only once the control planes are there: of machines that are emulated too few processors are
    /// left for all of them at once, and an API server that starts too slowly starts again.
    fn is_staged(&self) -> bool {
        self.board == Board::Vm && self.site.accel == Accel::Tcg
    }

    /// Makes the manifest of the cluster `name` and applies it.
    ///
    /// # Errors
    /// clusterctl or the API refuses.
    pub async fn apply(&self, tools: &Tools, name: &str, mut show: impl FnMut(&str)) -> Result<()> {
        let workers = if self.is_staged() { 0 } else { self.shape.workers };
        let manifest = tools.generate(name, Shape { workers, ..self.shape }, ENDPOINT.into()).await?;
        let file = self.site.dir.path(&format!("{name}.yaml"));
        std::fs::write(&file, &manifest).with_context(|| format!("failed to write {}", file.display()))?;
        show("clusterctl generate cluster");
        tools.apply(&manifest).await?;
        show("kubectl apply");
        Ok(())
    }

    /// Waits until the nodes of the cluster `name` are Ready and the plane has named their providers.
    ///
    /// # Errors
    /// A step fails, or takes too long.
    pub async fn run(&self, client: &Client, name: &str, mut show: impl FnMut(&str)) -> Result<Running> {
        let limit = self.board.cluster_limit();
        let talosctl = self.talosctl(client, name).await?;
        show("the plane has a talosconfig");
        let (control_planes, all) = (usize::from(self.shape.control_planes), self.members.len());
        let first = if self.is_staged() { control_planes } else { all };
        self.configured(client, first, &mut show).await?;
        let workload = Workload::of_plane(&self.site.dir, client, name, ENDPOINT.into(), limit).await?;
        show("the workload's API answers");
        workload.nodes_ready(first, limit, |name| show(&format!("node {name} is Ready"))).await?;
        if first < all {
            scale_workers(client, name, self.shape.workers).await?;
            show("the workers are scaled up");
            self.configured(client, all, &mut show).await?;
            workload.nodes_ready(all, limit, |name| show(&format!("node {name} is Ready"))).await?;
        }
        // Talos labels them and the plane names their providers a moment after they are Ready.
        let nodes = eventually!("nodes have role and provider ID", limit, None, async {
            let nodes = workload.nodes().await?;
            let labelled = by_role(&nodes).0.len();
            ensure!(labelled == control_planes, "{labelled} of {control_planes} control planes are labelled");
            ensure!(
                nodes.iter().all(|node| provider_uuid(node).is_some()),
                "a node has no provider ID of the plane"
            );
            Ok(Some(nodes))
        })?;
        show("all nodes have their role and provider ID");
        let addresses = by_role(&nodes);
        let first = first_control_plane(&addresses.0)?;
        let machine_api = Forward::to(&self.site.dir, (first, MACHINE_API_PORT).into()).await?;
        let all = [addresses.0.clone(), addresses.1.clone()].concat();
        talosctl.remember(machine_api.local, &all).await?;
        let board = self.board;
        Ok(Running { workload, talosctl, nodes, board, addresses, _machine_api: machine_api })
    }

    /// Waits until Talos has its configuration on so many machines; each is told of once.
    ///
    /// # Errors
    /// Fewer have it in time.
    pub async fn configured(&self, plane: &Client, count: usize, mut show: impl FnMut(&str)) -> Result<()> {
        let limit = self.board.cluster_limit();
        eventually!(format!("{count} machines have their configurations"), limit, None, async {
            for member in &self.members {
                let is_known = self.configured.lock().contains(member.name());
                if !is_known && member.console().find(member.configured()).is_some() {
                    member.announce(plane).await?;
                    show(&format!("{}: Talos has its configuration", member.name()));
                    self.configured.lock().insert(member.name().to_owned());
                }
            }
            let known = self.configured.lock().clone();
            ensure!(known.len() >= count, "{known:?} have");
            Ok(Some(()))
        })?;
        Ok(())
    }

    async fn talosctl(&self, plane: &Client, name: &str) -> Result<Talosctl> {
        let limit = self.board.cluster_limit();
        let text = secret(plane, &format!("{name}-talosconfig"), TALOSCONFIG, limit).await?;
        let file = self.site.dir.path(TALOSCONFIG);
        save(&text, &file)?;
        Ok(Talosctl::new(Arc::clone(&self.site.net), self.ground.parts(), &file))
    }

    /// The ends of the consoles of all machines, for a failure.
    pub fn consoles(&self) -> String {
        let end = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
        };
        let console = |member: &Member| format!("{}:\n{}\n", member.name(), end(member.console().path()));
        self.members.iter().map(console).collect()
    }

    /// Cuts the power of what does not end with the lab's network by itself; to be called before that ends.
    ///
    /// # Errors
    /// A machine does not end.
    pub async fn stop(&self) -> Result<()> {
        self.ground.stop().await
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
        let wait = format!("{}s", HEALTH_ROUND.as_secs());
        let mut words = vec!["health", "--wait-timeout", &wait, "--control-plane-nodes", &control_planes];
        if !workers.is_empty() {
            words.extend(["--worker-nodes", &workers]);
        }
        // etcd's members join one after the other, and a node is Ready before.
        eventually!("talosctl health is green", self.board.cluster_limit(), None, async {
            self.talosctl.run_within(HEALTH_ROUND + HEALTH_ROUND, first, &words).await.map(Some)
        })?;
        Ok(())
    }
}

/// As `kubectl scale` does it, to the `MachineDeployment` of clusterctl's template.
async fn scale_workers(plane: &Client, cluster: &str, workers: u8) -> Result<()> {
    let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "MachineDeployment");
    let api: Api<DynamicObject> = Api::default_namespaced_with(plane.clone(), &ApiResource::from_gvk(&kind));
    let name = format!("{cluster}-workers");
    let replicas = Patch::Merge(json!({ "spec": { "replicas": workers } }));
    let scaled = api.patch(&name, &PatchParams::default(), &replicas).await;
    scaled.map(drop).with_context(|| format!("failed to scale the MachineDeployment {name}"))
}

/// Addresses of control planes, and of workers.
fn by_role(nodes: &[KubernetesNode]) -> (Vec<String>, Vec<String>) {
    let (control_planes, workers): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| is_control_plane(node));
    let addresses = |nodes: Vec<&KubernetesNode>| nodes.into_iter().filter_map(address).collect();
    (addresses(control_planes), addresses(workers))
}

fn first_control_plane(addresses: &[String]) -> Result<Ipv4Addr> {
    let first = addresses.first().context("failed to find a control plane")?;
    first.parse().context("failed to parse a control plane's address")
}

/// Whether Talos labelled it so.
pub fn is_control_plane(node: &KubernetesNode) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE))
}

/// The Server that the plane named as its provider.
pub fn provider_uuid(node: &KubernetesNode) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref()?.strip_prefix("sidero://")
}

fn address(node: &KubernetesNode) -> Option<String> {
    let all = node.status.as_ref()?.addresses.as_ref()?;
    all.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}
