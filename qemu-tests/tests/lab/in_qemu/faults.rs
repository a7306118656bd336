//! Power control, network and power supply that fail: all machines become clean all the same.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    bmc::BmcKind,
    eventually, journey, known_data,
    machine::MachineSpec,
    native::{Native, NativeConfig},
    patient::{DISK, Patient},
    role::relay::Line,
    servers,
    switch::{
        Command,
        faults::{Fault, Faults},
    },
    vm::spec::{BootPath, VmSpec},
};
use std::time::Duration;

/// Some boots and some of the controllers' pauses, which are short here.
const CLEAN_LIMIT: Duration = Duration::from_mins(12);
/// From acceptance to the agent's first word on wiping.
const WIPE_LIMIT: Duration = Duration::from_mins(6);
const MEMORY: u32 = 640;
/// Bytes a second of a disk whose wipe takes some seconds: 8 MiB and more are zeroed, 4 of them first at the front.
const SLOW: u32 = 512 << 10;
/// A machine that did not come is started anew after this time; upstream's default is 20 minutes.
const CONFIG: &str = "sidero:\n  serverRebootTimeout: 90s\n";

#[tokio::test(flavor = "multi_thread")]
async fn machines_with_faults_become_clean_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [supervisor, launcher] =
        [env!("CARGO_BIN_EXE_bloomery-lab-supervisor"), env!("CARGO_BIN_EXE_bloomery-lab-container")];
    let config = NativeConfig::of_build(folder.path(), supervisor, launcher).expect("a root tree");
    let plane = Native::start(NativeConfig { config: CONFIG.to_owned(), ..config }).await.expect("a plane");
    let outcome = Box::pin(async { tokio::try_join!(bad_bmc(&plane), cut_power(&plane)).map(drop) }).await;
    if outcome.is_err() {
        println!("console:\n{}", std::fs::read_to_string(plane.console.path()).unwrap_or_default());
    }
    plane.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Commands that are refused, ignored and late, over a line that loses datagrams, and frames that are lost.
async fn bad_bmc(plane: &Native) -> Result<()> {
    let mut faults = Faults::none(1);
    faults.refuse_percent = 10;
    faults.late = Duration::from_secs(3);
    faults.next = [Fault::Refuse, Fault::Ignore].into();
    let spec = MachineSpec {
        faults,
        disk_bytes: DISK,
        bmc_line: Line { loss_percent: 10, delay: Duration::from_millis(20) },
        frame_loss_percent: 1,
        ..MachineSpec::new(BootPath::Uefi, 1, MEMORY, BmcKind::Ipmi)
    };
    let patient = Patient::build(plane, spec).await?;
    patient.registers(plane).await?;
    patient.becomes_clean(plane, CLEAN_LIMIT).await
}

/// The power fails while the agent wipes, after commands that were refused and ignored.
async fn cut_power(plane: &Native) -> Result<()> {
    let mut faults = Faults::none(2);
    faults.next = [Fault::Refuse, Fault::Ignore].into();
    let made = MachineSpec::new(BootPath::Bios, 2, MEMORY, BmcKind::Http);
    let vm = VmSpec { disk_writes: Some(SLOW), ..made.vm.clone() };
    let spec = MachineSpec { vm, faults, disk_bytes: DISK, ..made };
    let patient = Patient::build(plane, spec).await?;
    patient.registers(plane).await?;
    let machine = &patient.machine;
    journey::accept(&plane.client, machine, true).await?;
    let console = machine.switch.whole_console();
    let disk = machine.disks.first().context("the machine has a disk")?;
    // Wipes go from the front to the back, and this disk takes its time.
    eventually!("the front of the disk is wiped", WIPE_LIMIT, Some(&console), async {
        known_data::ends(disk).map(|ends| ends.first.is_none().then_some(()))
    })?;
    machine.switch.obey(Command::Off).await?;
    let ends = known_data::ends(disk)?;
    ensure!(ends.first.is_none() && ends.last.is_some(), "the power was not cut while wiping: {ends:?}");
    let server = servers::get(&plane.client, machine.uuid()).await?;
    ensure!(!server.is_clean(), "half a wipe counts as one: {:?}", server.status);
    patient.step("power cut while wiping: the front of the disk is zero, the back is not");
    patient.becomes_clean(plane, CLEAN_LIMIT).await
}
