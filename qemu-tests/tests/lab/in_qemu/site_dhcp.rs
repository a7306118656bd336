//! Plain DHCP servers beside the plane: each knows addresses only, and machines register all the same.

use anyhow::Result;
use bloomery_lab::{
    bmc::BmcKind,
    dhcpd::{self, Dhcp},
    machine::MachineSpec,
    native::{Native, NativeConfig},
    patient::{DISK, Patient},
    vm::spec::BootPath,
};

const MEMORY: u32 = 640;

async fn registers_beside(dhcp: Dhcp) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [supervisor, launcher] =
        [env!("CARGO_BIN_EXE_bloomery-lab-supervisor"), env!("CARGO_BIN_EXE_bloomery-lab-container")];
    let config = NativeConfig::of_build(folder.path(), supervisor, launcher).expect("a root tree");
    let plane = Native::start(NativeConfig { dhcp, ..config }).await.expect("a plane");
    let outcome = registers(&plane).await;
    if outcome.is_err() {
        let log = std::fs::read_to_string(plane.site.dir.path("dhcpd.log")).unwrap_or_default();
        println!("DHCP server:\n{log}");
    }
    plane.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn registers(plane: &Native) -> Result<()> {
    let spec = MachineSpec { disk_bytes: DISK, ..MachineSpec::new(BootPath::Bios, 1, MEMORY, BmcKind::None) };
    let patient = Patient::build(plane, spec).await?;
    patient.registers(plane).await?;
    let mac = &patient.machine.switch.spec.mac;
    anyhow::ensure!(dhcpd::has_asked(&plane.site.dir, mac), "another server gave the address");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_registers_beside_kea() {
    registers_beside(Dhcp::Kea).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_registers_beside_dnsmasq() {
    registers_beside(Dhcp::Dnsmasq).await;
}
