//! The whole lab: folder, network, DHCP server, forwarded ports, machines.
//!
//! It powers machines on and takes everything down; what should happen on them is the caller's to wait for.

use crate::{
    accel::Accel,
    contract::APPLIANCE_MAC,
    dhcpd::{self, Dhcp, Dhcpd},
    disk,
    forward::Forwards,
    machine::{Machine, MachineSpec, Site},
    net::{Helper, Net},
    state::LabDir,
    vm::{
        Vm,
        spec::{Firmware, VmSpec},
    },
};
use anyhow::{Context, Result, bail};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How large the appliance's disk is: the image and 6 GiB or so of state. Sparse, so that it costs nothing.
pub const APPLIANCE_DISK: &str = "8G";
/// How long the appliance may take for an orderly stop: all services get their time to end, etcd flushes.
const POWER_BUTTON_LIMIT: Duration = Duration::from_secs(45);

/// How a lab is set up.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Folder of consoles, disks and sockets.
    pub out: PathBuf,
    /// The appliance's raw disk image.
    pub image: PathBuf,
    /// The program that supervises the namespaces.
    pub helper: Helper,
    /// Use the disks of an earlier run in `out`.
    pub keep_state: bool,
    /// The site's DHCP server.
    pub dhcp: Dhcp,
}

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    /// Its folder.
    pub dir: Arc<LabDir>,
    /// Its network.
    pub net: Arc<Net>,
    /// The site's DHCP server.
    pub dhcpd: Dhcpd,
    /// The appliance's ports on the host.
    pub forwards: Forwards,
    /// Where its machines are built.
    pub site: Site,
    image: PathBuf,
}

impl Lab {
    /// Takes the folder and brings the network up. No machine runs yet.
    ///
    /// # Errors
    /// The image or a tool is missing, the folder is in use, or namespaces are not allowed.
    pub async fn start(config: LabConfig) -> Result<Self> {
        check_tools()?;
        if !config.image.is_file() {
            bail!("failed to find the image {}; make it with `make image`", config.image.display());
        }
        let dir = Arc::new(LabDir::open(&config.out, config.keep_state).await?);
        let accel = Accel::detect().await;
        let net = Arc::new(Net::start(Arc::clone(&dir), &config.helper).await?);
        let dhcpd = Dhcpd::start_as(&dir, &net, config.dhcp).await?;
        let forwards = Forwards::open(&dir).await?;
        let site = Site::open(Arc::clone(&dir), Arc::clone(&net), accel)?;
        Ok(Self { dir, net, dhcpd, forwards, site, image: config.image })
    }

    /// Powers on the appliance; a second call after a power cut boots from the same disk.
    ///
    /// # Errors
    /// Its disk or tap device cannot be made, or QEMU does not start.
    pub async fn power_on_appliance(&self, firmware: Firmware, memory: u32) -> Result<Vm> {
        self.power_on(VmSpec::appliance(firmware, memory)).await
    }

    /// The same with other parts than usual, for example another bus of the disk.
    ///
    /// # Errors
    /// Its disk or tap device cannot be made, or QEMU does not start.
    pub async fn power_on(&self, spec: VmSpec) -> Result<Vm> {
        disk::overlay(&self.dir, &spec.name, &self.image, APPLIANCE_DISK).await?;
        if !self.net.has_link(&spec.tap).await? {
            self.net.add_tap(&spec.tap).await?;
        }
        let vm = Vm::power_on(&self.dir, &self.net, &spec, self.site.accel).await?;
        if self.site.accel == Accel::Tcg {
            vm.repeat_faulty_boots();
        }
        Ok(vm)
    }

    /// Builds a blank machine; it is off.
    ///
    /// # Errors
    /// A part of it cannot be made.
    pub async fn build(&self, spec: MachineSpec) -> Result<Machine> {
        self.site.build(spec).await
    }

    /// The appliance's address, once it has a lease.
    pub fn appliance_address(&self) -> Option<Ipv4Addr> {
        dhcpd::address_of(&self.dir, APPLIANCE_MAC)
    }

    /// Takes everything down: the appliance in order when it is given, all others at once.
    ///
    /// # Errors
    /// Something does not end.
    pub async fn stop(self, appliance: Option<Vm>) -> Result<()> {
        if let Some(mut vm) = appliance {
            // Killed with the network if it does not stop in time; a power cut must be harmless anyway.
            let _ = vm.power_button(POWER_BUTTON_LIMIT).await;
        }
        self.net.stop().await
    }
}

/// Programs that the lab runs, with the Debian packages they come from.
const TOOLS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
];

fn check_tools() -> Result<()> {
    let path = std::env::var_os("PATH").context("failed to read PATH")?;
    // sbin is not in the path of ordinary users.
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].iter().map(PathBuf::from)).collect();
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| !folders.iter().any(|folder| is_program(&folder.join(program))))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!(
            "failed to find what the lab needs; run `make setup`, or: apt-get install {}",
            missing.join(" ")
        );
    }
    Ok(())
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}
