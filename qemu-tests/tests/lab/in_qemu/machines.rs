//! Virtual machines without an image: firmware, power, console, leases.

use bloomery_lab::{
    accel::Accel,
    dhcpd::{self, Dhcpd},
    disk, eventually,
    net::{Helper, Net},
    qmp::QmpCommand,
    state::LabDir,
    vm::{
        Vm, WaitError,
        spec::{BootOrder, BootPath, VmSpec},
    },
};
use std::{path::Path, sync::Arc, time::Duration};

/// OVMF asks for an address 8 s after power-on under emulation on an idle machine, `SeaBIOS` with iPXE after 4 s.
const DHCP_LIMIT: Duration = Duration::from_mins(1);
/// What a console says first comes after 1-2 s (`SeaBIOS`) or 6 s (OVMF).
const CONSOLE_LIMIT: Duration = Duration::from_secs(30);

async fn network(folder: &Path) -> (Arc<LabDir>, Arc<Net>, Dhcpd) {
    let helper =
        Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() };
    let dir = Arc::new(LabDir::open(folder, false).await.expect("a free folder"));
    let net = Arc::new(Net::start(Arc::clone(&dir), &helper).await.expect("a private network"));
    let dhcpd = Dhcpd::start(&dir, &net).await.expect("dhcpd");
    (dir, net, dhcpd)
}

/// Waits for the firmware's banner; OVMF does not end its line before it has booted.
async fn speaks(vm: &Vm, banner: &str) {
    eventually!("the firmware speaks on the console", CONSOLE_LIMIT, Some(&vm.console), async {
        Ok::<_, std::convert::Infallible>(
            vm.console.tail().iter().any(|line| line.contains(banner)).then_some(()),
        )
    })
    .expect("a banner");
}

/// Powers a blank machine on, waits until it asks for an address, resets and unplugs it, and powers it on again.
async fn netboots_and_obeys(path: BootPath, banner: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, net, _dhcpd) = network(folder.path()).await;
    let spec = VmSpec { order: BootOrder::NetworkFirst, ..VmSpec::blank(path, 1, 256) };
    disk::blank(&dir, &spec, 1 << 30).expect("a disk");
    net.add_tap(&spec.tap).await.expect("a tap device");

    let mut vm = Vm::power_on(&dir, &net, &spec, Accel::Tcg).await.expect("a machine");
    speaks(&vm, banner).await;
    eventually!("the machine asks for an address", DHCP_LIMIT, Some(&vm.console), async {
        Ok::<_, std::convert::Infallible>(dhcpd::has_asked(&dir, &spec.mac).then_some(()))
    })
    .expect("a DHCPDISCOVER");
    if path == BootPath::Bios {
        // OVMF takes no offer without boot information, and there is no appliance here that adds it.
        eventually!("the machine has a lease", DHCP_LIMIT, Some(&vm.console), async {
            Ok::<_, std::convert::Infallible>(dhcpd::address_of(&dir, &spec.mac))
        })
        .expect("a lease");
    }
    vm.monitor(QmpCommand::Reset).await.expect("a reset");
    assert_eq!(vm.exit(), None);
    vm.pull_plug().await.expect("a power cut");
    assert_eq!(vm.exit().as_deref(), Some("signal: 9 (SIGKILL)"));
    let error = vm.wait_for("never printed", CONSOLE_LIMIT).await.expect_err("the machine is off");
    assert!(matches!(error, WaitError::Stopped { .. }), "{error}");

    let again = Vm::power_on(&dir, &net, &spec, Accel::Tcg).await.expect("the same machine");
    speaks(&again, banner).await;
    net.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn uefi_machine_netboots_and_obeys() {
    netboots_and_obeys(BootPath::Uefi, ">>Start PXE over IPv4").await;
}

#[tokio::test]
async fn bios_machine_netboots_and_obeys() {
    netboots_and_obeys(BootPath::Bios, "iPXE").await;
}
