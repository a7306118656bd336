//! A workload cluster out of machines with firmware and disks: registered, wiped, netbooted into Talos, installed, Ready;
//! the plane loses its power in between, and in the end the nodes boot from their disks without it.
//!
//! The plane runs at native speed, as in the tests of every boot path; the machines are emulated.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    bmc::BmcKind,
    dhcpd, eventually, journey,
    machine::{Machine, MachineSpec},
    native::{Native, NativeConfig},
    patience::scaled,
    servers,
    switch::Command,
    talos::{
        images,
        manifest::{Shape, Tools},
        site::ENDPOINT,
        supply::{self, Supply},
        workload::Workload,
    },
    vm::spec::{BootOrder, BootPath},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const CLUSTER: &str = "demo";
/// One of each firmware.
const MACHINES: [BootPath; 2] = [BootPath::Uefi, BootPath::Bios];
/// A boot over the network, the pull and the run of the installer.
const INSTALL_LIMIT: Duration = Duration::from_mins(25);
/// Images are pulled and unpacked, etcd and the API server start, certificates are given.
const READY_LIMIT: Duration = Duration::from_mins(40);
/// What Talos says when it has its configuration: from then on the plane may be away.
const CONFIGURED: &str = "machine config loaded successfully";
/// What the installer says last.
const INSTALLED: &str = "installation of v";

#[tokio::test(flavor = "multi_thread")]
async fn netbooted_machines_become_a_cluster_and_boot_from_disk_without_the_plane() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [supervisor, launcher] =
        [env!("CARGO_BIN_EXE_bloomery-lab-supervisor"), env!("CARGO_BIN_EXE_bloomery-lab-container")];
    let config = NativeConfig::of_build(folder.path(), supervisor, launcher).expect("a root tree");
    let mut plane = Native::start(config).await.expect("a plane");
    let outcome = Box::pin(life(&mut plane)).await;
    if outcome.is_err() {
        for name in ["plane", "uefi-1", "bios-2"] {
            let log = std::fs::read_to_string(plane.site.dir.console(name)).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(200).collect();
            println!("{name}:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
    plane.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn life(plane: &mut Native) -> Result<()> {
    let began = Instant::now();
    let step = |text: &str| println!("{:>7.1} s  {text}", began.elapsed().as_secs_f64());
    let (dir, net) = (std::sync::Arc::clone(&plane.site.dir), std::sync::Arc::clone(&plane.site.net));
    let supply = Supply::open(&dir, &net).await?;
    supply.prepare(&plane.client).await?;
    let machines = clean_machines(plane, step).await?;

    let tools = Tools::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../out"))?;
    let kubeconfig = dir.path("kubeconfig");
    let shape = Shape { control_planes: 1, workers: 1 };
    let manifest = tools.generate(CLUSTER, shape, ENDPOINT.into(), &kubeconfig).await?;
    tools.apply(&manifest, &kubeconfig).await?;
    step("kubectl apply");
    // The first one that has its configuration: the other one still asks, and finds the plane again.
    first_says(&machines, CONFIGURED).await?;
    step("a machine has its configuration");
    plane.appliance.cut_power(&net).await?;
    step("power cut of the plane");
    plane.console = plane.appliance.power_on(&net).await?;
    for machine in &machines {
        machine.switch.whole_console().wait_for(INSTALLED, INSTALL_LIMIT).await?;
        step(&format!("{}: installed", machine.name()));
    }
    let addresses: Vec<_> =
        machines.iter().filter_map(|machine| dhcpd::address_of(&dir, &machine.switch.spec.mac)).collect();
    supply.balance(&net, &addresses).await?;
    let workload = Workload::of_plane(&dir, &plane.client, CLUSTER, ENDPOINT.into(), READY_LIMIT).await?;
    step("the workload's API answers");
    let nodes = workload.nodes_ready(2, READY_LIMIT, |name| step(&format!("node {name} is Ready"))).await?;
    for node in &nodes {
        let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
        ensure!(
            provider.starts_with("sidero://"),
            "{:?} has the provider ID {provider:?}",
            node.metadata.name
        );
    }
    workload.run_toolbox("first", &format!("{}/{}", images::LAB, images::TOOLBOX), READY_LIMIT).await?;
    step("a pod runs");

    plane.appliance.cut_power(&net).await?;
    step("the plane is off");
    let mut before = Vec::new();
    for name in nodes.iter().filter_map(|node| node.metadata.name.as_deref()) {
        before.push((name, workload.lease(name).await?));
    }
    for machine in &machines {
        machine.switch.obey(Command::Cycle).await?;
    }
    for (name, lease) in &before {
        eventually!(format!("{name} is back from its disk"), READY_LIMIT, None, async {
            workload.lease(name).await.map(|now| (now != *lease).then_some(()))
        })?;
        step(&format!("{name}: back from its disk, the plane off"));
    }
    for machine in &machines {
        let last = machine.switch.starts().await.last().copied();
        ensure!(last == Some(BootOrder::DiskFirst), "{} did not start from its disk first", machine.name());
    }
    Ok(())
}

/// Both machines, wiped and off.
async fn clean_machines(plane: &Native, step: impl Fn(&str)) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for (index, path) in MACHINES.into_iter().enumerate() {
        let number = u8::try_from(index + 1).context("few machines")?;
        let made = MachineSpec::new(path, number, supply::MEMORY, BmcKind::Http);
        let machine = plane.site.build(MachineSpec { vm: Supply::machine(path, number), ..made }).await?;
        machine.switch.obey(Command::On).await?;
        machines.push(machine);
    }
    for machine in &machines {
        journey::registered(&plane.client, machine).await?;
        step(&format!("{}: registered", machine.name()));
        journey::accept(&plane.client, machine, true).await?;
    }
    for machine in &machines {
        journey::clean(&plane.client, machine, journey::CLEAN_LIMIT, |_| {}).await?;
        let server = servers::get(&plane.client, machine.uuid()).await?;
        ensure!(server.is_off(), "{} is on", machine.name());
        step(&format!("{}: clean and off", machine.name()));
    }
    Ok(machines)
}

async fn first_says(machines: &[Machine], text: &str) -> Result<()> {
    let [one, other] = machines else { anyhow::bail!("there are two machines") };
    let (one, other) = (one.switch.whole_console(), other.switch.whole_console());
    let said = tokio::time::timeout(scaled(INSTALL_LIMIT), async {
        tokio::select! {
            line = one.wait_for(text, INSTALL_LIMIT) => line,
            line = other.wait_for(text, INSTALL_LIMIT) => line,
        }
    });
    said.await.context("no machine got its configuration")??;
    Ok(())
}
