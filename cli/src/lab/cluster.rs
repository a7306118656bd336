//! The workload cluster of a lab: real Talos, beside the appliance in its virtual machine.

use std::path::Path;

use anyhow::{Context as _, bail};
use bloomery_lab::accel::Accel;
use bloomery_lab::journey::Access;
use bloomery_lab::lab::Lab;
use bloomery_lab::talos::cluster::{Cluster, Running, TALOSCONFIG};
use bloomery_lab::talos::manifest::{Shape, Tools};
use bloomery_lab::talos::members::Board;
use bloomery_lab::talos::workload::WORKLOAD_FILE;

use super::steps::Steps;
use super::{BoardArg, RunArgs};

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

/// Of what the machines are made.
pub(super) const fn board(wanted: BoardArg, accel: Accel) -> Board {
    match (wanted, accel) {
        (BoardArg::Ns, _) | (BoardArg::Auto, Accel::Tcg) => Board::Ns,
        (BoardArg::Vm, _) | (BoardArg::Auto, Accel::Kvm) => Board::Vm,
    }
}

/// Builds the machines; they are off.
pub(super) async fn build(args: &RunArgs, lab: &Lab, steps: &Steps, shape: Shape) -> anyhow::Result<Cluster> {
    let board = board(args.board, lab.site.accel);
    if board == Board::Vm && !args.machines.is_empty() {
        bail!(
            "failed to build further machines beside a cluster of virtual ones: leave --machine away, or say --board ns"
        );
    }
    let why = match (board, args.board) {
        (Board::Ns, BoardArg::Auto) => {
            "Talos in namespaces of this computer, which has no KVM (--board vm: emulated machines)"
        }
        (Board::Ns, _) => "Talos in namespaces of this computer",
        (Board::Vm, _) => "virtual machines, UEFI and BIOS in turn",
    };
    let count = shape.control_planes + shape.workers;
    let built = Cluster::build(&lab.site, board, shape);
    steps.run(&format!("{count} machines: build"), built, |_| why.to_owned()).await
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
    let tools = Tools::find(programs, &args.out.join("kubeconfig"))?;
    let created = async {
        cluster.apply(&tools, NAME, |text| steps.note(text)).await?;
        cluster.run(&access.client, NAME, |text| steps.note(text)).await
    };
    let detail = |running: &Running| {
        let kubeconfig = args.out.join(WORKLOAD_FILE);
        format!("{} nodes are Ready, {}", running.nodes.len(), kubeconfig.display())
    };
    let running = steps.run("cluster: from the manifest to Ready", created, detail).await?;
    steps.run("cluster: talosctl health", running.health(), |()| String::new()).await?;
    Ok(running)
}

/// How to look at it.
pub(super) fn commands(args: &RunArgs, kubectl: &str) -> String {
    let out = args.out.display();
    let programs = args.out.parent().unwrap_or(Path::new("out"));
    let (clusterctl, talosctl) = (programs.join("clusterctl"), programs.join("talosctl"));
    format!(
        "  {kubectl} get clusters,machines\n  \
         {clusterctl}/clusterctl describe cluster {NAME} --config {clusterctl}/clusterctl.yaml\n  \
         {kubectl} --kubeconfig {out}/{WORKLOAD_FILE} get nodes\n  \
         {} --talosconfig {out}/{TALOSCONFIG} version\n",
        talosctl.display(),
        clusterctl = clusterctl.display(),
    )
}
