//! Nodes of board `ns` without a plane: what a person does with talosctl alone, step by step.

use super::{
    balance::ENDPOINT, ctl::Talosctl, manifest::Shape, network::address, node::Node, patches, site::NodeSite,
    workload::Workload,
};
use crate::{eventually, net::Net, state::LabDir, switch::Command};
use anyhow::{Context, Result};
use std::{sync::Arc, time::Duration};

/// Talos answers some seconds after PID 1 started.
pub const APID_LIMIT: Duration = Duration::from_mins(1);
/// The note of a quiet machine says 40 s for one control plane.
pub const READY_LIMIT: Duration = Duration::from_mins(6);

/// A cluster that a person made.
pub struct Alone {
    /// Its machine API.
    pub talosctl: Talosctl,
    /// Control planes, then workers.
    pub nodes: Vec<Arc<Node>>,
    /// Its Kubernetes API.
    pub workload: Workload,
}

impl Alone {
    /// Generates configurations, gives them to the nodes, switches these on, bootstraps etcd and waits until all are Ready.
    /// `show` is told of each step from power-on on.
    ///
    /// # Errors
    /// A step fails, or takes too long.
    pub async fn bring_up(
        dir: &Arc<LabDir>,
        net: &Arc<Net>,
        site: &NodeSite,
        shape: Shape,
        mut show: impl FnMut(&str),
    ) -> Result<Self> {
        let folder = dir.path("configs");
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let count = shape.control_planes.saturating_add(shape.workers);
        // The first control plane stands for all of them.
        let first = address(1);
        let patches = [
            ("--config-patch", patches::all(site.host(), site.registry())),
            ("--config-patch", patches::without_add_ons()),
        ];
        let made = Talosctl::generate(Arc::clone(net), &site.parts, &folder, first, &patches);
        let talosctl = made.await?;
        let mut nodes = Vec::new();
        for number in 1..=count {
            let (role, name) = if number <= shape.control_planes {
                ("controlplane", format!("cp-{number}"))
            } else {
                ("worker", format!("worker-{}", number - shape.control_planes))
            };
            let node = site.build(&name, number).await?;
            let config = folder.join(format!("{role}.yaml"));
            let text = std::fs::read(&config);
            node.configure(&text.with_context(|| format!("failed to read {}", config.display()))?)?;
            nodes.push(node);
        }
        for node in &nodes {
            node.obey(Command::On).await?;
        }
        show("power on");
        for node in &nodes {
            apid_answers(&talosctl, node).await?;
            show(&format!("{}: machine API answers", node.name));
        }
        let console = nodes.first().map(|node| node.console());
        eventually!("bootstrap", APID_LIMIT, console.as_ref(), async {
            talosctl.run(first, &["bootstrap"]).await.map(Some)
        })?;
        show("bootstrap accepted");
        let endpoint = (first, ENDPOINT.port()).into();
        let workload = Workload::by_talosctl(dir, &talosctl, &folder, endpoint, READY_LIMIT).await?;
        show("the workload's API answers");
        workload.nodes_ready(nodes.len(), READY_LIMIT, |name| show(&format!("node {name} is Ready"))).await?;
        Ok(Self { talosctl, nodes, workload })
    }
}

/// Waits until the node's machine API answers.
///
/// # Errors
/// It does not in time.
pub async fn apid_answers(ctl: &Talosctl, node: &Node) -> Result<()> {
    let console = node.console();
    eventually!(format!("{} answers", node.name), APID_LIMIT, Some(&console), async {
        ctl.run(node.address(), &["version", "--short"]).await.map(Some)
    })?;
    Ok(())
}
