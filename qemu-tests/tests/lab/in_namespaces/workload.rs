//! Workload clusters out of clean machines: the whole plane, and real Talos on board `ns`, each in namespaces.
//!
//! The manifest is clusterctl's own from this build's repository; the times by step stand beside those of Talos alone
//! (`in_namespaces::talos`).

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    contract::APPLIANCE_MAC,
    dhcpd,
    native::{Native, NativeConfig},
    plane as planes,
    switch::Command,
    talos::{
        ctl::Talosctl,
        images,
        manifest::{Shape, Tools},
        node::Node,
        plane,
        site::{ENDPOINT, NodeSite},
        workload::{PAGE, PAGE_PORT, Workload, secret},
    },
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// A boot of the agent, or the plane's pauses between power commands.
const MACHINE_LIMIT: Duration = Duration::from_mins(5);
/// From the manifest to anything of the cluster; the goal is two minutes to the last node.
const CLUSTER_LIMIT: Duration = Duration::from_mins(8);
/// A pod is pulled and started.
const POD_LIMIT: Duration = Duration::from_mins(2);
const CLUSTER: &str = "demo";

struct Bench {
    native: Native,
    site: NodeSite,
    nodes: Vec<Arc<Node>>,
    shape: Shape,
    started: Instant,
}

impl Bench {
    async fn start(folder: &Path, shape: Shape) -> Result<Self> {
        let config = NativeConfig::of_build(
            folder,
            env!("CARGO_BIN_EXE_bloomery-lab-supervisor"),
            env!("CARGO_BIN_EXE_bloomery-lab-container"),
        )?;
        let started = Instant::now();
        let native = Native::start(config).await?;
        let site = NodeSite::open(Arc::clone(&native.site.dir), Arc::clone(&native.site.net)).await?;
        Ok(Self { native, site, nodes: Vec::new(), shape, started })
    }

    fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    fn consoles(&self) {
        let names = self.nodes.iter().map(|node| node.name.as_str()).chain(["plane"]);
        for name in names {
            let log = self.native.site.dir.console(name);
            println!("{name}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }
}

async fn run(shape: Shape) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bench = Bench::start(folder.path(), shape).await.expect("a plane");
    let outcome = life(&mut bench).await;
    if outcome.is_err() {
        bench.consoles();
    }
    bench.site.stop().await.expect("power off");
    bench.native.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_control_plane_and_one_worker_come_up_from_a_manifest() {
    run(Shape { control_planes: 1, workers: 1 }).await;
}

async fn life(bench: &mut Bench) -> Result<()> {
    bench.step("the plane answers machines");
    become_clean(bench).await?;
    bench.started = Instant::now();
    let dir = Arc::clone(&bench.native.site.dir);
    let kubeconfig = dir.path("kubeconfig");
    let tools = Tools::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../out"))?;
    let manifest = tools.generate(CLUSTER, bench.shape, ENDPOINT.into(), &kubeconfig).await?;
    bench.step("clusterctl generate cluster");
    tools.apply(&manifest, &kubeconfig).await?;
    bench.step("kubectl apply");
    let client = bench.native.client.clone();
    let talosconfig =
        secret(&client, &format!("{CLUSTER}-talosconfig"), "talosconfig", CLUSTER_LIMIT).await?;
    bench.step("talosconfig");
    let file = dir.path("talosconfig");
    planes::save(&talosconfig, &file)?;
    let ctl = Talosctl::new(Arc::clone(&bench.native.site.net), &bench.site.parts, &file);
    for node in &bench.nodes {
        node.console().wait_for("board: starts machined", CLUSTER_LIMIT).await?;
        bench.step(&format!("{}: machined starts", node.name));
    }
    let workload = Workload::of_plane(&dir, &client, CLUSTER, ENDPOINT.into(), CLUSTER_LIMIT).await?;
    bench.step("Kubernetes API ready");
    let count = bench.nodes.len();
    let nodes =
        workload.nodes_ready(count, CLUSTER_LIMIT, |name| bench.step(&format!("{name} Ready"))).await?;
    for node in &nodes {
        let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
        ensure!(
            provider.starts_with("sidero://"),
            "{:?} has the provider ID {provider:?}",
            node.metadata.name
        );
    }
    let image = format!("{}/{}", images::LAB, images::TOOLBOX);
    let pod = workload.run_toolbox("first", &image, POD_LIMIT).await?;
    let url = format!("http://{pod}:{PAGE_PORT}/");
    let page =
        bench.nodes[0].network.run(&bench.native.site.net, &["curl", "-fsS", "-m", "5", &url], "").await?;
    ensure!(page.trim() == PAGE, "the pod's page is {page:?}");
    bench.step("a pod runs");
    health(bench, &ctl, &nodes).await
}

/// Machines register, are accepted and wiped, and wait, switched off.
async fn become_clean(bench: &mut Bench) -> Result<()> {
    let plane_address = dhcpd::address_of(&bench.native.site.dir, APPLIANCE_MAC).context("no address")?;
    let client = bench.native.client.clone();
    plane::prepare(&client, &bench.site).await?;
    let count = bench.shape.control_planes + bench.shape.workers;
    bench.site.balance(count).await?;
    for number in 1..=count {
        let node = bench.site.build(&format!("node-{number}"), number).await?;
        node.set_plane(plane_address);
        node.obey(Command::On).await?;
        bench.nodes.push(node);
    }
    for node in &bench.nodes {
        plane::registered(&client, node, MACHINE_LIMIT).await?;
        plane::accept(&client, node).await?;
    }
    bench.step("all machines are accepted");
    for node in &bench.nodes {
        plane::clean(&client, node, MACHINE_LIMIT).await?;
    }
    bench.step("all machines are clean and off");
    Ok(())
}

/// talosctl's own checks of a cluster.
async fn health(bench: &Bench, ctl: &Talosctl, nodes: &[k8s_openapi::api::core::v1::Node]) -> Result<()> {
    let addresses = |control_plane: bool| {
        let label = "node-role.kubernetes.io/control-plane";
        let found = nodes.iter().filter(|node| {
            node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label)) == control_plane
        });
        let address = |node: &k8s_openapi::api::core::v1::Node| {
            let all = node.status.as_ref()?.addresses.as_ref()?;
            all.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
        };
        found.filter_map(address).collect::<Vec<String>>()
    };
    let (control_planes, workers) = (addresses(true), addresses(false));
    let first = control_planes.first().context("no control plane")?.parse()?;
    let (control_planes, workers) = (control_planes.join(","), workers.join(","));
    let words = [
        "health",
        "--control-plane-nodes",
        &control_planes,
        "--worker-nodes",
        &workers,
        "--wait-timeout",
        "15s",
    ];
    ctl.run(first, &words).await?;
    bench.step("talosctl health is green");
    Ok(())
}
