//! QEMU's command line for a machine.
//!
//! File names are relative to the lab's folder, which is QEMU's current folder: no path of the host can contain a
//! comma that QEMU would take for its own.

use super::{
    firmware::{OVMF_CODE, variables},
    spec::{DiskBus, Firmware, VmSpec},
};
use crate::accel::Accel;

/// The monitor's socket, relative to the lab's folder.
pub(super) fn monitor(machine: &str) -> String {
    format!("run/{machine}.qmp")
}

/// Program and arguments.
pub(super) fn arguments(spec: &VmSpec, accel: Accel) -> Vec<String> {
    let mut argv: Vec<String> = vec!["qemu-system-x86_64".to_owned(), "-name".to_owned(), spec.name.clone()];
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    add("-M", "q35".to_owned());
    for pair in accel.arguments().chunks_exact(2) {
        add(pair[0], pair[1].to_owned());
    }
    add("-smp", spec.cpus.to_string());
    add("-m", spec.memory.to_string());
    add("-uuid", spec.uuid.clone());
    let smbios = &spec.smbios;
    add(
        "-smbios",
        format!(
            "type=1,manufacturer={},product={},version=1.0,serial={},sku=LAB,family=Lab",
            smbios.manufacturer, smbios.product, smbios.serial
        ),
    );
    add("-smbios", format!("type=2,manufacturer={},serial=BB-{}", smbios.manufacturer, smbios.serial));
    add("-smbios", format!("type=3,manufacturer={},serial=CH-{}", smbios.manufacturer, smbios.serial));
    add("-chardev", format!("file,id=console,path={}.console.log,append=on", spec.name));
    add("-serial", "chardev:console".to_owned());
    add("-qmp", format!("unix:{},server=on,wait=off", monitor(&spec.name)));
    add("-device", "virtio-rng-pci".to_owned());
    firmware(spec, &mut add);
    network(spec, &mut add);
    disk(spec, &mut add);
    // -nographic makes SeaBIOS and iPXE speak on the serial port; -display none would not.
    argv.extend(["-nographic".to_owned(), "-nodefaults".to_owned()]);
    argv
}

fn firmware(spec: &VmSpec, add: &mut impl FnMut(&str, String)) {
    match spec.firmware {
        Firmware::Bios => {}
        Firmware::Uefi => {
            add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
            add("-drive", format!("if=pflash,format=raw,unit=1,file={}", variables(&spec.name)));
            // OVMF tries IPv6 for 64 s after a failed or finished IPv4 boot.
            add("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n".to_owned());
        }
    }
}

fn network(spec: &VmSpec, add: &mut impl FnMut(&str, String)) {
    add("-netdev", format!("tap,id=net0,ifname={},script=no,downscript=no", spec.tap));
    let boot = if spec.network_boot { ",bootindex=1" } else { "" };
    // An empty ROM leaves UEFI its own network stack, and spares a machine that boots from disk the PXE prompt.
    let rom = match spec.firmware {
        Firmware::Bios if spec.network_boot => "",
        Firmware::Bios | Firmware::Uefi => ",romfile=",
    };
    add("-device", format!("virtio-net-pci,netdev=net0,mac={}{boot}{rom}", spec.mac));
}

fn disk(spec: &VmSpec, add: &mut impl FnMut(&str, String)) {
    add("-drive", format!("if=none,id=disk0,format=qcow2,discard=unmap,file={}.qcow2", spec.name));
    let device = match spec.bus {
        DiskBus::Virtio => "virtio-blk-pci",
        DiskBus::Nvme => "nvme",
        DiskBus::Sata => "ide-hd,bus=ide.0",
    };
    add("-device", format!("{device},drive=disk0,serial=DISK-{},bootindex=2", spec.smbios.serial));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &VmSpec, accel: Accel) -> String {
        // One option with its value per line.
        arguments(spec, accel).join(" ").replace(" -", "\n-")
    }

    #[test]
    fn appliance_boots_from_its_disk_only() {
        insta::assert_snapshot!(shown(&VmSpec::appliance(Firmware::Bios, 1024), Accel::Tcg));
    }

    #[test]
    fn blank_uefi_machine_netboots_with_its_own_firmware() {
        insta::assert_snapshot!(shown(&VmSpec::blank(Firmware::Uefi, 1, 768), Accel::Kvm));
    }

    #[test]
    fn blank_bios_machine_netboots_with_the_ipxe_rom() {
        insta::assert_snapshot!(shown(&VmSpec::blank(Firmware::Bios, 2, 768), Accel::Tcg));
    }
}
