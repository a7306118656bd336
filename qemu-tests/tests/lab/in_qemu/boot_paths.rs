//! Every boot path, each with some power control: discovered, accepted, wiped, powered off, clean and available.
//!
//! One appliance at native speed serves all machines, which are emulated, two at a time.

use anyhow::{Result, ensure};
use bloomery_lab::{
    bmc::BmcKind,
    contract::LOADER_STARTED,
    machine::MachineSpec,
    native::{Native, NativeConfig},
    patient::{DISK, Patient},
    vm::spec::{BootPath, DiskBus, VmSpec},
};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A wipe is one more boot, a delayed power command and a minute's pause of the controllers.
const CLEAN_LIMIT: Duration = Duration::from_mins(8);
/// Memory of each machine: the agent's kernel and its initramfs twice.
const MEMORY: u32 = 640;
/// Emulated machines that two processors can bear.
const AT_ONCE: usize = 2;

/// Each boot path once, each power control at least once, each kind of disk at least once.
const MACHINES: [(BootPath, BmcKind, &[DiskBus]); 5] = [
    (BootPath::Uefi, BmcKind::Ipmi, &[DiskBus::Nvme, DiskBus::Virtio]),
    (BootPath::Bios, BmcKind::Http, &[DiskBus::Sata]),
    (BootPath::BiosUndionly, BmcKind::Ipmi, &[DiskBus::Virtio]),
    (BootPath::UefiHttp, BmcKind::Redfish, &[DiskBus::Scsi, DiskBus::Nvme]),
    (BootPath::Ipxe, BmcKind::Http, &[DiskBus::Virtio]),
];

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_every_boot_path_become_clean_and_available() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [supervisor, launcher] =
        [env!("CARGO_BIN_EXE_bloomery-lab-supervisor"), env!("CARGO_BIN_EXE_bloomery-lab-container")];
    let config = NativeConfig::of_build(folder.path(), supervisor, launcher).expect("a root tree");
    let plane = Native::start(config).await.expect("a plane");
    let outcome = Box::pin(all(&plane)).await;
    if outcome.is_err() {
        println!("console:\n{}", std::fs::read_to_string(plane.console.path()).unwrap_or_default());
    }
    plane.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn all(plane: &Native) -> Result<()> {
    let slots = Semaphore::new(AT_ONCE);
    let [one, two, three, four, five] =
        [0, 1, 2, 3, 4].map(|index: u8| life(plane, &slots, index + 1, MACHINES[usize::from(index)]));
    tokio::try_join!(one, two, three, four, five).map(drop)
}

async fn life(
    plane: &Native,
    slots: &Semaphore,
    number: u8,
    (path, bmc, disks): (BootPath, BmcKind, &[DiskBus]),
) -> Result<()> {
    let _slot = slots.acquire().await?;
    let made = MachineSpec::new(path, number, MEMORY, bmc);
    let vm = VmSpec { disks: disks.to_vec(), ..made.vm.clone() };
    let patient = Patient::build(plane, MachineSpec { vm, disk_bytes: DISK, ..made }).await?;
    patient.step("built");
    patient.registers(plane).await?;
    let console = patient.machine.switch.whole_console();
    let (says, never) = signs(path);
    ensure!(console.find(says).is_some(), "the console of {path}-{number} does not say {says:?}");
    let other = console.find(never);
    ensure!(other.is_none(), "{path}-{number} booted another way: {other:?}");
    patient.becomes_clean(plane, CLEAN_LIMIT).await?;
    patient.was_netbooted_by_the_plane().await
}

/// What the console says on this boot path, and what only on others.
fn signs(path: BootPath) -> (&'static str, &'static str) {
    match path {
        BootPath::Bios => ("Booting from ROM", "/undionly.kpxe"),
        BootPath::BiosUndionly => ("/undionly.kpxe", "Booting from ROM"),
        BootPath::Uefi => (">>Start PXE over IPv4", ">>Start HTTP Boot"),
        BootPath::UefiHttp => (">>Start HTTP Boot over IPv4", ">>Start PXE"),
        BootPath::Ipxe => (LOADER_STARTED, ">>Start"),
    }
}
