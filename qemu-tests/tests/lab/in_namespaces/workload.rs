//! Workload clusters out of clean machines: the whole plane, and real Talos on board `ns`, each in namespaces.
//!
//! The manifest is clusterctl's own from this build's repository; the times by step stand beside those of Talos alone
//! (`in_namespaces::talos`).

use crate::clusterctl;
use anyhow::{Context, Result, bail, ensure};
use bloomery_lab::{
    contract::APPLIANCE_MAC,
    dhcpd, eventually,
    native::{Native, NativeConfig},
    switch::Command,
    talos::{
        cluster::{Cluster, Running},
        images,
        manifest::{Shape, Tools},
        members::{Board, Member},
        workload::{PAGE, PAGE_PORT},
    },
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A pod is pulled and started.
const POD_LIMIT: Duration = Duration::from_mins(2);
/// A node asks for a plane in vain for half a minute, and boots.
const NODE_LIMIT: Duration = Duration::from_mins(3);
const CLUSTER: &str = "demo";

async fn run(shape: Shape) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = NativeConfig::of_build(
        folder.path(),
        env!("CARGO_BIN_EXE_bloomery-lab-supervisor"),
        env!("CARGO_BIN_EXE_bloomery-lab-container"),
    );
    let mut native = Native::start(config.expect("a root tree")).await.expect("a plane");
    let cluster = Cluster::build(&native.site, Board::Ns, shape).await.expect("machines");
    let outcome = life(&mut native, &cluster).await;
    if outcome.is_err() {
        let plane = std::fs::read_to_string(native.site.dir.console("plane")).unwrap_or_default();
        println!("{}\nplane:\n{plane}", cluster.consoles());
    }
    cluster.stop().await.expect("power off");
    native.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_control_plane_and_one_worker_come_up_from_a_manifest() {
    run(Shape { control_planes: 1, workers: 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_control_planes_and_two_workers_come_up_from_a_manifest() {
    run(Shape { control_planes: 3, workers: 2 }).await;
}

async fn life(native: &mut Native, cluster: &Cluster) -> Result<()> {
    let client = native.client.clone();
    let address = dhcpd::address_of(&native.site.dir, APPLIANCE_MAC).context("the plane has no address")?;
    let began = Instant::now();
    let step = |text: &str| println!("{:>7.1} s  {text}", began.elapsed().as_secs_f64());
    cluster.become_clean(&client, address, step).await?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out");
    let tools = Tools::find(&out, &native.site.dir.path("kubeconfig"))?;
    let began = Instant::now();
    let step = |text: &str| println!("{:>7.1} s  {text}", began.elapsed().as_secs_f64());
    cluster.apply(&tools, CLUSTER, step).await?;
    let running = cluster.run(&client, CLUSTER, step).await?;
    let image = format!("{}/{}", images::LAB, images::TOOLBOX);
    let pod = running.workload.run_toolbox("first", &image, POD_LIMIT).await?;
    let url = format!("http://{pod}:{PAGE_PORT}/");
    let get = ["curl", "-fsS", "-m", "5", &url];
    let [Member::Ns(first), ..] = &cluster.members[..] else { bail!("no node") };
    let page = first.network.run(&native.site.net, &get, "").await?;
    ensure!(page.trim() == PAGE, "the pod's page is {page:?}");
    step("a pod runs");
    running.health().await?;
    step("talosctl health is green");
    clusterctl::sees(&tools, CLUSTER, native.site.dir.root(), step).await?;
    native.appliance.cut_power(&native.site.net).await?;
    boots_without_a_plane(&cluster.members, &running).await?;
    step("a node boots from its disk without a plane");
    Ok(())
}

/// S9: the plane away keeps no node from its disk.
async fn boots_without_a_plane(members: &[Member], running: &Running) -> Result<()> {
    let member = members.last().context("no node")?;
    let before = running.workload.lease(member.name()).await?;
    member.obey(Command::Cycle).await?;
    member.console().wait_for("board: boots from its disk", NODE_LIMIT).await?;
    let limit = bloomery_lab::patience::scaled(NODE_LIMIT);
    eventually!("the node's kubelet is back", limit, Some(&member.console()), async {
        running.workload.lease(member.name()).await.map(|now| (now > before).then_some(()))
    })?;
    Ok(())
}
