//! Workload clusters out of clean machines: the whole plane, and real Talos on board `ns`, each in namespaces.
//!
//! The manifest is clusterctl's own from this build's repository; the times by step stand beside those of Talos alone
//! (`in_namespaces::talos`).

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    contract::APPLIANCE_MAC,
    dhcpd, eventually,
    native::{Native, NativeConfig},
    switch::Command,
    talos::{
        cluster::{Cluster, Running},
        images,
        manifest::{Shape, Tools},
        node::Node,
        workload::{PAGE, PAGE_PORT},
    },
};
use std::{
    path::Path,
    sync::Arc,
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
    let cluster = Cluster::build(&native.site.dir, &native.site.net, shape).await.expect("machines");
    let outcome = life(&mut native, &cluster).await;
    if outcome.is_err() {
        let plane = std::fs::read_to_string(native.site.dir.console("plane")).unwrap_or_default();
        println!("{}\nplane:\n{plane}", cluster.consoles());
    }
    cluster.site.stop().await.expect("power off");
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
    let tools = Tools::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../out"))?;
    let began = Instant::now();
    let step = |text: &str| println!("{:>7.1} s  {text}", began.elapsed().as_secs_f64());
    let running = cluster.create(&client, &tools, CLUSTER, step).await?;
    for node in &running.nodes {
        let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
        ensure!(
            provider.starts_with("sidero://"),
            "{:?} has the provider ID {provider:?}",
            node.metadata.name
        );
    }
    let image = format!("{}/{}", images::LAB, images::TOOLBOX);
    let pod = running.workload.run_toolbox("first", &image, POD_LIMIT).await?;
    let url = format!("http://{pod}:{PAGE_PORT}/");
    let get = ["curl", "-fsS", "-m", "5", &url];
    let page = cluster.nodes[0].network.run(&native.site.net, &get, "").await?;
    ensure!(page.trim() == PAGE, "the pod's page is {page:?}");
    step("a pod runs");
    running.health().await?;
    step("talosctl health is green");
    native.appliance.cut_power(&native.site.net).await?;
    boots_without_a_plane(&cluster.nodes, &running).await?;
    step("a node boots from its disk without a plane");
    Ok(())
}

/// S9: the plane away keeps no node from its disk.
async fn boots_without_a_plane(nodes: &[Arc<Node>], running: &Running) -> Result<()> {
    let node = nodes.last().context("no node")?;
    let before = running.workload.lease(&node.name).await?;
    node.obey(Command::Cycle).await?;
    node.console().wait_for("board: boots from its disk", NODE_LIMIT).await?;
    let limit = bloomery_lab::patience::scaled(NODE_LIMIT);
    eventually!("the node's kubelet is back", limit, Some(&node.console()), async {
        running.workload.lease(&node.name).await.map(|now| (now > before).then_some(()))
    })?;
    Ok(())
}
