//! The workload cluster of a lab: real Talos on board `ns`, beside the appliance in its virtual machine.

use std::path::Path;

use anyhow::{Context as _, bail};
use bloomery_lab::journey::Access;
use bloomery_lab::lab::Lab;
use bloomery_lab::talos::cluster::{Cluster, Running};
use bloomery_lab::talos::manifest::{Shape, Tools};

use super::RunArgs;
use super::steps::Steps;

/// Name of the cluster.
const NAME: &str = "demo";

/// What was asked for, if a cluster was.
pub(super) fn shape(args: &RunArgs) -> anyhow::Result<Option<Shape>> {
    let shape = Shape { control_planes: args.control_planes, workers: args.workers };
    match (shape.control_planes, shape.workers) {
        (0, 0) => Ok(None),
        (0, _) => bail!("failed to make a cluster of workers alone: say --control-planes"),
        _ => Ok(Some(shape)),
    }
}

/// Builds the machines; they are off.
pub(super) async fn build(lab: &Lab, steps: &Steps, shape: Shape) -> anyhow::Result<Cluster> {
    let count = shape.control_planes + shape.workers;
    let built = Cluster::build(&lab.dir, &lab.net, shape);
    let name = format!("{count} machines on board ns: build");
    steps.run(&name, built, |_| "Talos in namespaces of this computer, without QEMU".to_owned()).await
}

/// From machines that are off to a cluster whose nodes are Ready.
pub(super) async fn bring_up(
    args: &RunArgs,
    steps: &Steps,
    lab: &Lab,
    access: &Access,
    cluster: &Cluster,
) -> anyhow::Result<Running> {
    let address = lab.appliance_address().context("failed to find the appliance's address")?;
    let clean = cluster.become_clean(&access.client, address, |text| steps.note(text));
    steps.run("machines: register, are accepted and wiped", clean, |()| String::new()).await?;
    let programs = args.out.parent().unwrap_or(Path::new("out"));
    let tools = Tools::find(programs)?;
    let created = cluster.create(&access.client, &tools, NAME, |text| steps.note(text));
    let detail = |running: &Running| {
        format!("{} nodes are Ready, {}", running.nodes.len(), running.workload.kubeconfig.display())
    };
    let running = steps.run("cluster: from the manifest to Ready", created, detail).await?;
    steps.run("cluster: talosctl health", running.health(), |()| String::new()).await?;
    Ok(running)
}

/// How to look at it.
pub(super) fn summary(args: &RunArgs, cluster: &Cluster, running: &Running, kubectl: &str) -> String {
    let out = args.out.display();
    let talosctl = args.out.parent().unwrap_or(Path::new("out")).join("talosctl");
    let machines = cluster.nodes.iter().map(|node| format!("{} {}", node.name, node.address()));
    format!(
        "\nCluster {NAME}: {}\n  {kubectl} --kubeconfig {} get nodes\n  \
         {} --talosconfig {} health\n  {kubectl} --kubeconfig {out}/kubeconfig get clusters,machines,servers\n",
        machines.collect::<Vec<_>>().join(", "),
        running.workload.kubeconfig.display(),
        talosctl.display(),
        running.talosconfig.display(),
    )
}
