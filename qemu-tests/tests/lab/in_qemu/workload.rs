//! A workload cluster out of machines with firmware and disks: registered, wiped, netbooted into Talos, installed, Ready;
//! the plane loses its power in between, and in the end the nodes boot from their disks without it.
//!
//! The plane runs at native speed, as in the tests of every boot path; the machines are emulated.

use crate::clusterctl;
use anyhow::{Context, Result, bail, ensure};
use bloomery_lab::{
    contract::APPLIANCE_MAC,
    dhcpd, eventually,
    native::{Native, NativeConfig},
    switch::Command,
    talos::{
        cluster::{Cluster, Running, is_control_plane, provider_uuid},
        images,
        manifest::{Shape, Tools},
        members::{Board, Member},
    },
    vm::spec::BootOrder,
};
use k8s_openapi::api::core::v1::Node;
use std::{
    path::Path,
    time::{Duration, Instant},
};

const CLUSTER: &str = "demo";
/// Images are pulled and unpacked, etcd and the API server start, certificates are given.
const READY_LIMIT: Duration = Duration::from_mins(40);
/// What the installer says last.
const INSTALLED: &str = "installation of v";

#[tokio::test(flavor = "multi_thread")]
async fn netbooted_machines_become_a_cluster_and_boot_from_disk_without_the_plane() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [supervisor, launcher] =
        [env!("CARGO_BIN_EXE_bloomery-lab-supervisor"), env!("CARGO_BIN_EXE_bloomery-lab-container")];
    let config = NativeConfig::of_build(folder.path(), supervisor, launcher).expect("a root tree");
    let mut plane = Native::start(config).await.expect("a plane");
    let shape = Shape { control_planes: 1, workers: 1 };
    let cluster = Cluster::build(&plane.site, Board::Vm, shape).await.expect("machines");
    let outcome = Box::pin(life(&mut plane, &cluster)).await;
    if outcome.is_err() {
        let log = std::fs::read_to_string(plane.site.dir.console("plane")).unwrap_or_default();
        println!("{}\nplane:\n{log}", cluster.consoles());
    }
    plane.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn life(plane: &mut Native, cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    let step = |text: &str| println!("{:>7.1} s  {text}", began.elapsed().as_secs_f64());
    let client = plane.client.clone();
    let address = dhcpd::address_of(&plane.site.dir, APPLIANCE_MAC).context("the plane has no address")?;
    cluster.become_clean(&client, address, step).await?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out");
    let tools = Tools::find(&out, &plane.site.dir.path("kubeconfig"))?;
    cluster.apply(&tools, CLUSTER, step).await?;
    // The first one that has its configuration: the other one still asks, and finds the plane again.
    cluster.configured(&client, 1, step).await?;
    plane.appliance.cut_power(&plane.site.net).await?;
    step("power cut of the plane");
    plane.console = plane.appliance.power_on(&plane.site.net).await?;
    let running = cluster.run(&client, CLUSTER, step).await?;
    for member in &cluster.members {
        ensure!(member.console().find(INSTALLED).is_some(), "{} did not install itself", member.name());
    }
    let image = format!("{}/{}", images::LAB, images::TOOLBOX);
    running.workload.run_toolbox("first", &image, READY_LIMIT).await?;
    step("a pod runs");
    running.health().await?;
    step("talosctl health is green");
    clusterctl::sees(&tools, CLUSTER, plane.site.dir.root(), step).await?;
    plane.appliance.cut_power(&plane.site.net).await?;
    step("the plane is off");
    boot_from_disk(&cluster.members, &running, step).await
}

/// S9: each firmware finds Talos on its disk while nothing answers. Workers first, whose leases need an API.
async fn boot_from_disk(members: &[Member], running: &Running, step: impl Fn(&str)) -> Result<()> {
    let name = |node: &&Node| node.metadata.name.clone().unwrap_or_default();
    let (control_planes, workers): (Vec<&Node>, Vec<&Node>) =
        running.nodes.iter().partition(|node| is_control_plane(node));
    for node in workers.iter().chain(&control_planes) {
        let name = name(node);
        let uuid = provider_uuid(node).with_context(|| format!("{name} has no provider ID"))?;
        let member = members.iter().find(|member| member.uuid() == uuid);
        let member = member.with_context(|| format!("{name} is no machine of the lab: {uuid}"))?;
        let before = running.workload.lease(&name).await?;
        member.obey(Command::Cycle).await?;
        eventually!(format!("{name} is back from its disk"), READY_LIMIT, None, async {
            running.workload.lease(&name).await.map(|now| (now != before).then_some(()))
        })?;
        step(&format!("{} is back from its disk as {name}, the plane off", member.name()));
        let Member::Vm(machine) = member else { bail!("{} has no firmware", member.name()) };
        let last = machine.switch.starts().await.last().copied();
        ensure!(last == Some(BootOrder::DiskFirst), "{} did not start from its disk first", member.name());
    }
    Ok(())
}
