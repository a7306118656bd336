//! Simulated machines of every x86 kind against the whole plane: its DHCP, TFTP, HTTP, gRPC and Kubernetes API.
//!
//! The root tree is `out/rootfs`, or the folder that `BLOOMERY_ROOTFS` names.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    container::{Container, ContainerSpec},
    contract::PAIRING_LINE,
    dhcpd::Dhcpd,
    eventually,
    forward::Forwards,
    net::{Helper, Net},
    plane, servers,
    simulate::{
        config::{Config, Operate, Target, Until},
        join::Running,
    },
    state::LabDir,
};
use std::{collections::BTreeSet, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

/// A boot to the announced API, or to every service being ready: some seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// Twenty machines take a few seconds.
const MACHINES_LIMIT: Duration = Duration::from_mins(2);
/// Anything that the plane answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const MACHINES: u32 = 20;
/// Kind of trouble of a machine whose firmware found nobody and gave up.
const GAVE_UP: &str = "no-offer";

fn helper(program: &str) -> Helper {
    Helper { program: program.into(), arguments: Vec::new() }
}

fn root_tree() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/rootfs");
    let root = std::env::var_os("BLOOMERY_ROOTFS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    root.canonicalize().expect("a root tree: make it with `make image`, or name one with BLOOMERY_ROOTFS")
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_machines_register_are_accepted_and_have_a_power_api() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = Arc::new(LabDir::open(folder.path(), false).await.expect("a free folder"));
    let supervisor = helper(env!("CARGO_BIN_EXE_bloomery-lab-supervisor"));
    let net = Net::start(Arc::clone(&dir), &supervisor).await.expect("a private network");
    let spec = ContainerSpec {
        root: root_tree(),
        launcher: env!("CARGO_BIN_EXE_bloomery-lab-container").into(),
        var: dir.path("plane-var"),
        boot: dir.path("plane-boot"),
    };
    let mut machine = Container::build(&net, &dir, spec).await.expect("a machine");
    let outcome = life(&dir, &net, &mut machine).await;
    machine.cut_power(&net).await.expect("power off");
    net.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}\nconsole:\n{}", std::fs::read_to_string(dir.console("plane")).unwrap_or_default());
    }
}

async fn life(dir: &Arc<LabDir>, net: &Net, machine: &mut Container) -> Result<()> {
    let _dhcpd = Dhcpd::start(dir, net).await?;
    let forwards = Forwards::open(dir).await?;
    let console = machine.power_on(net).await?;
    let line = console.wait_for(PAIRING_LINE, BOOT_LIMIT).await?;
    let kubeconfig = eventually!("pairing", ANSWER_LIMIT, Some(&console), async {
        plane::pair(&line, &forwards).await.map(Some)
    })?;
    for service in ["controllers", "bootsvc"] {
        console.wait_for(&format!("{service}: ready after"), BOOT_LIMIT).await?;
    }
    let client = plane::client(&kubeconfig).await?;
    let lab = Running::find(dir.root())?;
    let operate = Operate { kubeconfig, server: Some(lab.api()), accept: true, management_api: true };
    let config = Config {
        operate: Some(operate),
        until: Some(Until::Registered),
        limit: Some(bloomery_lab::patience::scaled(MACHINES_LIMIT)),
        ..Config::new(MACHINES, Target::new(lab.plane))
    };
    let simulation = helper(env!("CARGO_BIN_EXE_bloomery-lab-simulation"));
    let mut inside = lab.start(&simulation, &config, Stdio::piped()).await?;
    let mut answer = String::new();
    inside.child.stdout.take().context("no pipe")?.read_to_string(&mut answer).await?;
    let summary: serde_json::Value = serde_json::from_str(&answer).context("no summary")?;
    ensure!(summary["end"] == "done", "not all machines registered: {summary:#}");
    let registered = servers::list(&client).await?;
    ensure!(registered.len() == MACHINES as usize, "{} servers", registered.len());
    let endpoints: BTreeSet<_> =
        registered.iter().map(|server| server.spec["managementApi"].to_string()).collect();
    ensure!(endpoints.len() == registered.len(), "each has an API of its own: {endpoints:?}");
    ensure!(registered.iter().all(|server| server.spec["accepted"] == true), "not all are accepted");
    let products: BTreeSet<_> =
        registered.iter().map(|server| server.hardware("/system/productName")).collect();
    ensure!(products.len() > 1, "all of one kind: {products:?}");
    comes_up_at_once(net, machine, &lab, &client).await
}

/// After a power cut the machines of a rack are switched on in the same second as the plane, and are quicker: their
/// firmware asks before there is a network, and their scripts ask before there is an API.
async fn comes_up_at_once(
    net: &Net,
    machine: &mut Container,
    lab: &Running,
    client: &kube::Client,
) -> Result<()> {
    machine.cut_power(net).await?;
    let config = Config {
        first: MACHINES,
        until: Some(Until::Registered),
        limit: Some(bloomery_lab::patience::scaled(BOOT_LIMIT)),
        ..Config::new(MACHINES, Target::new(lab.plane))
    };
    let simulation = helper(env!("CARGO_BIN_EXE_bloomery-lab-simulation"));
    let (console, mut inside) =
        tokio::try_join!(machine.power_on(net), lab.start(&simulation, &config, Stdio::piped()))?;
    let mut answer = String::new();
    inside.child.stdout.take().context("no pipe")?.read_to_string(&mut answer).await?;
    let summary: serde_json::Value = serde_json::from_str(&answer).context("no summary")?;
    println!("a rack at once: registered {}, {}", summary["registeredAt"], summary["counts"]);
    ensure!(summary["end"] == "done", "not all machines of the rack registered: {summary:#}");
    ensure!(summary["errors"].get(GAVE_UP).is_none(), "firmware gave up: {summary:#}");
    ensure!(summary["phases"].get("disk").is_none(), "a machine went to its disk: {summary:#}");
    let all = 2 * MACHINES as usize;
    eventually!("all machines have Servers", ANSWER_LIMIT, Some(&console), async {
        let servers = servers::list(client).await?;
        ensure!(servers.len() == all, "{} of {all}", servers.len());
        Ok::<_, anyhow::Error>(Some(()))
    })?;
    Ok(())
}
