//! A machine of the lab: its parts, its power switch and its BMC.
//!
//! It is built switched off, with empty disks; what should happen to it is the caller's business.

use crate::{
    accel::Accel,
    bmc::{Bmc, BmcKind},
    control::SOCKET,
    disk,
    net::Net,
    role::relay::Line,
    state::LabDir,
    switch::{Switch, faults::Faults},
    switchboard::Switchboard,
    vm::spec::{BootPath, VmSpec},
};
use anyhow::{Context, Result};
use std::{path::PathBuf, sync::Arc};

/// Size of each disk of a blank machine, sparse: what an installed node needs at least.
const MACHINE_DISK: u64 = 8 << 30;

/// Where machines are built.
#[derive(Debug, Clone)]
pub struct Site {
    /// The lab's folder.
    pub dir: Arc<LabDir>,
    /// Its network.
    pub net: Arc<Net>,
    /// How guest code runs.
    pub accel: Accel,
    switchboard: Switchboard,
}

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its number, 1 to 80: addresses follow from it.
    pub number: u8,
    /// The virtual machine.
    pub vm: VmSpec,
    /// Size of each of its disks.
    pub disk_bytes: u64,
    /// What controls its power.
    pub bmc: BmcKind,
    /// What goes wrong with power commands.
    pub faults: Faults,
    /// How bad the line to an IPMI BMC is.
    pub bmc_line: Line,
    /// How many of a hundred frames from and to its network card are lost.
    pub frame_loss_percent: u8,
}

impl MachineSpec {
    /// A faultless machine with one disk.
    pub fn new(path: BootPath, number: u8, memory: u32, bmc: BmcKind) -> Self {
        Self {
            number,
            vm: VmSpec::blank(path, number, memory),
            disk_bytes: MACHINE_DISK,
            bmc,
            faults: Faults::none(u64::from(number)),
            bmc_line: Line::default(),
            frame_loss_percent: 0,
        }
    }
}

/// A machine of the lab.
#[derive(Debug)]
pub struct Machine {
    /// Its power switch.
    pub switch: Arc<Switch>,
    /// What controls it from outside.
    pub bmc: Bmc,
    /// The files of its disks.
    pub disks: Vec<PathBuf>,
}

impl Site {
    /// The site of a lab whose network runs; its power socket answers from now on.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open(dir: Arc<LabDir>, net: Arc<Net>, accel: Accel) -> Result<Self> {
        let switchboard = Switchboard::default();
        switchboard.serve(&dir.socket(SOCKET))?;
        Ok(Self { dir, net, accel, switchboard })
    }

    /// Builds a machine. It is off, its BMC answers.
    ///
    /// # Errors
    /// A disk, a tap device or the BMC cannot be made.
    pub async fn build(&self, spec: MachineSpec) -> Result<Machine> {
        let mut vm = spec.vm.clone();
        vm.kcs = spec.bmc.kcs_port(spec.number);
        let disks = disk::blank(&self.dir, &vm, spec.disk_bytes)?;
        if !self.net.has_link(&vm.tap).await? {
            self.net.add_tap(&vm.tap).await?;
        }
        if spec.frame_loss_percent > 0 {
            self.net.lose_frames(&vm.tap, spec.frame_loss_percent).await?;
        }
        let name = vm.name.clone();
        let switch = Switch::new(vm, Arc::clone(&self.dir), Arc::clone(&self.net), self.accel, spec.faults);
        let switch = Arc::new(switch);
        self.switchboard.add(Arc::clone(&switch));
        let bmc = Bmc::start(&self.dir, &self.net, spec.bmc, spec.number, &switch, spec.bmc_line)
            .await
            .with_context(|| format!("failed to start the BMC of {name}"))?;
        self.switchboard.add_bmc(&name, bmc.contact());
        Ok(Machine { switch, bmc, disks })
    }
}

impl Machine {
    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.switch.spec.name
    }

    /// The name of its Server.
    pub fn uuid(&self) -> &str {
        &self.switch.spec.uuid
    }
}
