//! Our plane: the image's root and its PID 1 in namespaces, as the lab runs it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bloomery_lab::container::{Container, ContainerSpec};
use bloomery_lab::contract::PAIRING_LINE;
use bloomery_lab::dhcpd::Dhcpd;
use bloomery_lab::eventually;
use bloomery_lab::net::Net;
use bloomery_lab::state::LabDir;

use super::processes::{Memory, Processes};
use crate::supervisor;

/// The API, natively on a busy machine.
const API_LIMIT: Duration = Duration::from_mins(2);
/// The services that start after it.
const SERVICES_LIMIT: Duration = Duration::from_mins(2);
/// PID 1, then every service of DESIGN.md's table that stays: without one of them the sum means nothing.
pub(super) const INIT: &str = "init";
const SERVICES: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "cluster-api",
    "controllers",
    "bootsvc",
    "siderolink",
    "appliance",
];
/// The program beside this one that enters the plane's namespaces.
const LAUNCHER: &str = "bench-enter";

/// Starts the plane, waits until it rests, reads its memory, and ends it.
pub(super) async fn measure(out: &Path, settle: Duration) -> anyhow::Result<Processes> {
    let dir = Arc::new(LabDir::open(&out.join("bench/plane"), false).await?);
    let net = Net::start(Arc::clone(&dir), &supervisor()?).await?;
    let result = Box::pin(run(out, &dir, &net, settle)).await;
    net.stop().await?;
    result
}

async fn run(out: &Path, dir: &Arc<LabDir>, net: &Net, settle: Duration) -> anyhow::Result<Processes> {
    let _dhcpd = Dhcpd::start(dir, net).await?;
    let state = tempfile::tempdir_in(dir.root()).context("failed to make a folder for the state")?;
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    let spec = ContainerSpec {
        root: out.join("rootfs"),
        launcher: program.with_file_name(LAUNCHER),
        var: state.path().join("var"),
        boot: state.path().join("boot"),
    };
    let mut plane = Container::build(net, dir, spec).await?;
    let console = plane.power_on(net).await?;
    console.wait_for(PAIRING_LINE, API_LIMIT).await?;
    eventually!("all services run", SERVICES_LIMIT, Some(&console), async {
        let running = plane.processes(net).await?;
        let missing = SERVICES.iter().find(|name| !running.iter().any(|process| process.program == **name));
        Ok::<_, anyhow::Error>(missing.is_none().then_some(()))
    })?;
    eprintln!("bench: the plane runs; {} s of rest", settle.as_secs());
    tokio::time::sleep(settle).await;
    let processes = read(&plane, net).await?;
    for name in SERVICES {
        processes.get(name)?;
    }
    plane.stop(net).await.context("failed to stop the plane")?;
    Ok(processes)
}

async fn read(plane: &Container, net: &Net) -> anyhow::Result<Processes> {
    let mut processes = Processes::default();
    for process in plane.processes(net).await? {
        let rollup = net.run(&["cat", &format!("/proc/{}/smaps_rollup", process.pid)], "").await?;
        processes.add(&process.program, Memory::parse(&rollup)?);
    }
    Ok(processes)
}
