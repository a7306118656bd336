//! Real Talos nodes on board `ns` without a plane: configurations by talosctl, a control plane and a worker.
//!
//! It shows that the board is one on which Talos runs, and how long Talos alone takes.

use anyhow::{Context, Result, bail, ensure};
use bloomery_lab::{
    eventually,
    net::{Helper, Net},
    state::LabDir,
    switch::Command,
    talos::{
        alone::{Alone, READY_LIMIT, apid_answers},
        ctl::Talosctl,
        images,
        manifest::Shape,
        node::Node,
        site::NodeSite,
        workload::{PAGE, PAGE_PORT, Workload},
    },
};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// A pod is pulled and started.
const POD_LIMIT: Duration = Duration::from_mins(2);
/// An orderly stop takes a second or two.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// A node that does not answer for so long does not answer.
const SILENCE: Duration = Duration::from_secs(3);
/// Operations a second of a slow disk: an old one that is busy.
const SLOW: u32 = 20;
const WRITES: u32 = 10;

struct Lab {
    dir: Arc<LabDir>,
    net: Arc<Net>,
    site: NodeSite,
    started: Instant,
}

impl Lab {
    async fn start(folder: &Path) -> Result<Self> {
        let dir = Arc::new(LabDir::open(folder, false).await?);
        let helper =
            Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() };
        let net = Arc::new(Net::start(Arc::clone(&dir), &helper).await?);
        let site = NodeSite::open(Arc::clone(&dir), Arc::clone(&net)).await?;
        Ok(Self { dir, net, site, started: Instant::now() })
    }

    fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.started.elapsed().as_secs_f64());
    }
}

/// The settings of this host that no namespace holds.
fn host_settings() -> Vec<String> {
    ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "kernel/keys/root_maxkeys"]
        .iter()
        .map(|name| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_and_a_worker_come_up_run_a_pod_and_survive_a_power_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = host_settings();
    let mut lab = Lab::start(folder.path()).await.expect("a lab");
    let outcome = life(&mut lab).await;
    if outcome.is_err() {
        for name in ["cp-1", "worker-1", "registry"] {
            let log = lab.dir.path(&format!("{name}.console.log"));
            println!("{name}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }
    lab.site.stop().await.expect("power off");
    lab.net.stop().await.expect("the end of the lab");
    drop(lab);
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
    assert_eq!(host_settings(), before, "the host's settings are as they were");
}

async fn life(lab: &mut Lab) -> Result<()> {
    lab.started = Instant::now();
    let shape = Shape { control_planes: 1, workers: 1 };
    let made = Alone::bring_up(&lab.dir, &lab.net, &lab.site, shape, |text| lab.step(text)).await?;
    let Alone { talosctl: ctl, nodes, workload } = made;
    let [control_plane, worker] = &nodes[..] else { bail!("there are two nodes") };
    let pod =
        workload.run_toolbox("first", &format!("{}/{}", images::LAB, images::TOOLBOX), POD_LIMIT).await?;
    lab.step("a pod runs");
    let url = format!("http://{pod}:{PAGE_PORT}/");
    let page = control_plane.network.run(&lab.net, &["curl", "-fsS", "-m", "5", &url], "").await?;
    ensure!(page.trim() == PAGE, "the pod's page is {page:?}");
    faults(lab, &ctl, [control_plane, worker], &workload).await?;
    power_cut(lab, &ctl, worker, &workload).await?;
    button(lab, worker).await
}

/// What a test can do to a machine from outside.
async fn faults(lab: &Lab, ctl: &Talosctl, nodes: [&Node; 2], workload: &Workload) -> Result<()> {
    let [control_plane, worker] = nodes;
    let asked = async || {
        let version = ctl.run(worker.address(), &["version", "--short"]);
        tokio::time::timeout(SILENCE, version).await.is_ok_and(|answer| answer.is_ok())
    };
    worker.freeze(true)?;
    ensure!(!asked().await, "a frozen node answers");
    worker.freeze(false)?;
    apid_answers(ctl, worker).await?;
    lab.step("a frozen node goes on");
    worker.plug(false).await?;
    ensure!(!asked().await, "a node without network answers");
    worker.plug(true).await?;
    apid_answers(ctl, worker).await?;
    lab.step("a node without network comes back");
    let fast = writes(workload, "fast").await?;
    control_plane.slow_disk(Some(SLOW))?;
    let slow = writes(workload, "slow").await?;
    control_plane.slow_disk(None)?;
    ensure!(slow > 2 * fast, "a slow disk has no effect: {slow:?}, before {fast:?}");
    lab.step(&format!("{WRITES} writes take {slow:.1?} with a slow disk, {fast:.1?} without"));
    Ok(())
}

/// How long some writes to etcd take, each synced to the disk.
async fn writes(workload: &Workload, name: &str) -> Result<Duration> {
    let maps: Api<ConfigMap> = Api::namespaced(workload.client.clone(), "default");
    let began = Instant::now();
    for number in 0..WRITES {
        let metadata = ObjectMeta { name: Some(format!("{name}-{number}")), ..ObjectMeta::default() };
        maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?;
    }
    Ok(began.elapsed())
}

/// The disk is kept: the node comes back by itself and runs its pod again.
async fn power_cut(lab: &Lab, ctl: &Talosctl, node: &Node, workload: &Workload) -> Result<()> {
    // A node is Ready a moment before its first lease is seen.
    let lease = eventually!("the node has a lease", READY_LIMIT, None, async {
        workload.lease(&node.name).await.map(Some)
    })?;
    node.obey(Command::Off).await?;
    ensure!(!node.is_on().await, "the node is on");
    ensure!(ctl.run(node.address(), &["version", "--short"]).await.is_err(), "a node that is off answers");
    ensure!(node.is_installed(), "the node lost its configuration");
    lab.step("power cut");
    node.obey(Command::On).await?;
    apid_answers(ctl, node).await?;
    lab.step("the node answers again");
    eventually!("the node's lease is renewed", READY_LIMIT, Some(&node.console()), async {
        workload.lease(&node.name).await.map(|now| (now > lease).then_some(()))
    })?;
    workload.nodes_ready(2, READY_LIMIT, |_| {}).await?;
    lab.step("the node is Ready again");
    Ok(())
}

/// The power button is Talos's orderly shutdown; the machine then is off by itself.
async fn button(lab: &Lab, node: &Arc<Node>) -> Result<()> {
    node.obey(Command::SoftOff).await?;
    let ended = tokio::time::timeout(bloomery_lab::patience::scaled(STOP_LIMIT), node.switched_off());
    let ended = ended.await.context("the power button had no effect")??;
    ensure!(ended == "exit status: 0", "the board ended with {ended}");
    lab.step("the power button switches the node off");
    Ok(())
}
