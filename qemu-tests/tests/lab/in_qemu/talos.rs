//! Real Talos on virtual machines without a plane: installed by its own installer, booted from disk, Ready.
//!
//! One machine with each firmware. It shows what board `ns` cannot: disks, the installer, both boot loaders, kexec.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    accel::Accel,
    dhcpd::{self, Dhcpd},
    disk, eventually,
    net::{Helper, Net},
    state::LabDir,
    talos::{
        ctl::Talosctl,
        images,
        supply::{self, Supply},
        workload::Workload,
    },
    vm::{
        Vm,
        spec::{BootPath, VmSpec},
    },
};
use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// A disk for Talos, sparse.
const DISK: u64 = 8 << 30;
/// Kernel, init and udev up to the first question for an address.
const LEASE_LIMIT: Duration = Duration::from_mins(8);
/// The installer is pulled, unpacked and run, all emulated.
const INSTALL_LIMIT: Duration = Duration::from_mins(25);
/// From disk up to the machine API.
const APID_LIMIT: Duration = Duration::from_mins(15);
/// Images are pulled and unpacked, etcd and the API server start, certificates are given.
const READY_LIMIT: Duration = Duration::from_mins(40);
/// What the installer says last.
const INSTALLED: &str = "installation of v";
/// What the kernel says when Talos starts the installed one.
const KEXEC: &str = "kexec_core: Starting new kernel";

struct Site {
    dir: Arc<LabDir>,
    net: Arc<Net>,
    _dhcpd: Dhcpd,
    supply: Supply,
    accel: Accel,
    started: Instant,
}

impl Site {
    async fn start(folder: &Path) -> Result<Self> {
        let helper =
            Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() };
        let dir = Arc::new(LabDir::open(folder, false).await?);
        let net = Arc::new(Net::start(Arc::clone(&dir), &helper).await?);
        let dhcpd = Dhcpd::start(&dir, &net).await?;
        let supply = Supply::open(&dir, &net).await?;
        let accel = Accel::detect().await;
        Ok(Self { dir, net, _dhcpd: dhcpd, supply, accel, started: Instant::now() })
    }

    fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    async fn power_on(&self, spec: &VmSpec) -> Result<Vm> {
        let vm = Vm::power_on(&self.dir, &self.net, spec, self.accel).await?;
        if self.accel == Accel::Tcg {
            vm.repeat_faulty_boots();
        }
        Ok(vm)
    }

    async fn address(&self, vm: &Vm) -> Result<Ipv4Addr> {
        let found =
            eventually!(format!("{} has a lease", vm.spec.name), LEASE_LIMIT, Some(&vm.console), async {
                Ok::<_, std::convert::Infallible>(dhcpd::address_of(&self.dir, &vm.spec.mac))
            })?;
        Ok(found)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn talos_installs_itself_and_boots_from_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = Site::start(folder.path()).await.expect("a site");
    let outcome = Box::pin(life(&site)).await;
    if outcome.is_err() {
        for name in ["bios-1.console.log", "uefi-2.console.log", "registry.log"] {
            let log = std::fs::read_to_string(site.dir.path(name)).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(200).collect();
            println!("{name}:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
    site.net.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn life(site: &Site) -> Result<()> {
    let mut machines = Vec::new();
    for (path, number, config) in
        [(BootPath::Bios, 1, "controlplane.yaml"), (BootPath::Uefi, 2, "worker.yaml")]
    {
        let spec = Supply::machine(path, number);
        disk::blank(&site.dir, &spec, DISK)?;
        site.net.add_tap(&spec.tap).await?;
        let first = VmSpec { kernel: Some(site.supply.kernel(config)?), ..spec.clone() };
        machines.push((spec, site.power_on(&first).await?));
    }
    site.step("power on");
    let control_plane = site.address(&machines[0].1).await?;
    site.step("the control plane has an address");
    let configs = site.dir.path("configs");
    std::fs::create_dir_all(&configs)?;
    let patches = supply::options(Supply::patches()?);
    let ctl =
        Talosctl::generate(Arc::clone(&site.net), &site.supply.parts, &configs, control_plane, &patches)
            .await?;
    for name in ["controlplane.yaml", "worker.yaml"] {
        site.supply.publish(name, &supply::read(&configs, name)?)?;
    }
    for (_, vm) in &machines {
        vm.wait_for(INSTALLED, INSTALL_LIMIT).await?;
        site.step(&format!("{}: installed", vm.spec.name));
        vm.wait_for(KEXEC, INSTALL_LIMIT).await?;
        site.step(&format!("{}: Talos starts the installed kernel", vm.spec.name));
    }
    eventually!("bootstrap", APID_LIMIT, Some(&machines[0].1.console), async {
        ctl.run(control_plane, &["bootstrap"]).await.map(Some)
    })?;
    site.step("bootstrap accepted");
    let workload =
        Workload::by_talosctl(&site.dir, &ctl, &configs, (control_plane, 6443).into(), READY_LIMIT).await?;
    site.step("Kubernetes API ready");
    let nodes = workload.nodes_ready(2, READY_LIMIT, |name| site.step(&format!("{name} Ready"))).await?;
    ensure!(nodes.iter().all(|node| kernel_of(node).is_some_and(|kernel| !kernel.starts_with("6."))));
    workload.run_toolbox("first", &format!("{}/{}", images::LAB, images::TOOLBOX), READY_LIMIT).await?;
    site.step("a pod runs");
    from_disk(site, &ctl, &mut machines).await
}

fn kernel_of(node: &k8s_openapi::api::core::v1::Node) -> Option<String> {
    Some(node.status.as_ref()?.node_info.as_ref()?.kernel_version.clone())
}

/// After a power cut each firmware finds its boot loader on the disk; nothing serves a configuration any more.
async fn from_disk(site: &Site, ctl: &Talosctl, machines: &mut [(VmSpec, Vm)]) -> Result<()> {
    for name in ["controlplane.yaml", "worker.yaml"] {
        site.supply.publish(name, b"no configuration\n")?;
    }
    for (spec, vm) in machines.iter_mut() {
        vm.pull_plug().await?;
        let again = VmSpec { netboot: spec.netboot, kernel: None, ..spec.clone() };
        *vm = site.power_on(&again).await?;
    }
    site.step("power cut; on again without a kernel of the site");
    for (_, vm) in machines.iter() {
        let address = site.address(vm).await?;
        eventually!(format!("{} answers", vm.spec.name), APID_LIMIT, Some(&vm.console), async {
            ctl.run(address, &["version", "--short"]).await.map(Some)
        })?;
        site.step(&format!("{}: the machine API answers after a boot from disk", vm.spec.name));
    }
    let (_, control_plane) = machines.first().context("there are machines")?;
    let address = site.address(control_plane).await?;
    eventually!("etcd is healthy", APID_LIMIT, Some(&control_plane.console), async {
        ctl.run(address, &["etcd", "status"]).await.map(Some)
    })?;
    site.step("etcd is back");
    Ok(())
}
