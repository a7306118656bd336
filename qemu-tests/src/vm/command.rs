//! QEMU's command line for a machine.
//!
//! File names are relative to the lab's folder, which is QEMU's current folder: no path of the host can contain a
//! comma that QEMU would take for its own.

use super::{
    boot,
    firmware::variables,
    loader,
    spec::{BootPath, DiskBus, Firmware, VmSpec},
};
use crate::{accel::Accel, tool::OVMF_CODE};

/// The monitor's socket, relative to the lab's folder.
pub(super) fn monitor(machine: &str) -> String {
    format!("run/{machine}.qmp")
}

/// A second monitor, on which events are waited for.
pub(super) fn events(machine: &str) -> String {
    format!("run/{machine}.events")
}

/// Program and arguments.
pub(super) fn arguments(spec: &VmSpec, accel: Accel) -> Vec<String> {
    let mut argv: Vec<String> = vec!["qemu-system-x86_64".to_owned(), "-name".to_owned(), spec.name.clone()];
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    add("-M", "q35".to_owned());
    for pair in accel.arguments(spec.emulated).chunks_exact(2) {
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
    add("-qmp", format!("unix:{},server=on,wait=off", events(&spec.name)));
    add("-device", "virtio-rng-pci".to_owned());
    firmware(spec, &mut add);
    network(spec, &mut add);
    disks(spec, &mut add);
    kcs(spec, &mut add);
    if let Some(kernel) = &spec.kernel {
        add("-kernel", kernel.image.display().to_string());
        add("-initrd", kernel.initramfs.display().to_string());
        add("-append", kernel.command_line.clone());
    }
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
    let index = boot::network_index(spec);
    // An empty ROM leaves UEFI its own network stack, and spares a machine that boots from disk the PXE prompt.
    let card = match spec.netboot {
        Some(BootPath::Bios | BootPath::Ipxe) => format!(",bootindex={index}"),
        Some(BootPath::Uefi | BootPath::UefiHttp) => format!(",bootindex={index},romfile="),
        Some(BootPath::BiosUndionly) | None => ",romfile=".to_owned(),
    };
    add("-device", format!("virtio-net-pci,id={},netdev=net0,mac={}{card}", boot::CARD, spec.mac));
    if spec.netboot == Some(BootPath::BiosUndionly) {
        add("-device", format!("isa-fdc,id={},fdtypeA=144,bootindexA={index}", boot::FLOPPY));
        let file = loader::floppy(&spec.name);
        add("-drive", format!("if=none,id=loader,format=raw,readonly=on,file={file}"));
        add("-device", format!("floppy,drive=loader,bus={}.0,unit=0", boot::FLOPPY));
    }
    if spec.netboot == Some(BootPath::UefiHttp) {
        add("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n".to_owned());
    }
}

fn disks(spec: &VmSpec, add: &mut impl FnMut(&str, String)) {
    // Zeros that are written make no block, so that wiped disks stay small.
    let format = match (spec.netboot.is_some(), spec.disk_writes) {
        (true, None) => "raw,detect-zeroes=unmap,discard=unmap".to_owned(),
        (false, None) => "qcow2,discard=unmap".to_owned(),
        // A discard would take no time at all.
        (true, Some(limit)) => format!("raw,discard=ignore,throttling.bps-write={limit}"),
        (false, Some(limit)) => format!("qcow2,discard=ignore,throttling.bps-write={limit}"),
    };
    for (index, bus) in spec.disks.iter().enumerate() {
        let file = spec.disk_file(index);
        add("-drive", format!("if=none,id=disk{index},format={format},file={file}"));
        let device = match bus {
            DiskBus::Virtio => "virtio-blk-pci".to_owned(),
            DiskBus::Nvme => "nvme".to_owned(),
            DiskBus::Sata => format!("ide-hd,bus=ide.{index}"),
            DiskBus::Scsi => {
                add("-device", format!("virtio-scsi-pci,id=scsi{index}"));
                format!("scsi-hd,bus=scsi{index}.0")
            }
            DiskBus::Usb => {
                add("-device", format!("qemu-xhci,id=xhci{index}"));
                format!("usb-storage,bus=xhci{index}.0")
            }
        };
        // The first disk keeps the serial number that it always had.
        let suffix = if index == 0 { String::new() } else { format!("-{index}") };
        let serial = format!("DISK-{}{suffix}", spec.smbios.serial);
        add(
            "-device",
            format!("{device},drive=disk{index},serial={serial},bootindex={}", boot::disk_index(index)),
        );
    }
}

/// The machine's side of its BMC: an interface that Linux shows as /dev/ipmi0.
fn kcs(spec: &VmSpec, add: &mut impl FnMut(&str, String)) {
    if let Some(port) = spec.kcs {
        add("-chardev", format!("socket,id=kcs,host=127.0.0.1,port={port},reconnect=2"));
        add("-device", "ipmi-bmc-extern,id=bmc0,chardev=kcs".to_owned());
        add("-device", "isa-ipmi-kcs,bmc=bmc0".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::spec::BootOrder;

    fn shown(spec: &VmSpec, accel: Accel) -> String {
        // One option with its value per line.
        arguments(spec, accel).join(" ").replace(" -", "\n-")
    }

    #[test]
    fn appliance_boots_from_its_disk_only() {
        insta::assert_snapshot!(shown(&VmSpec::appliance(Firmware::Bios, 1024), Accel::Tcg));
    }

    #[test]
    fn appliance_boots_from_a_usb_stick() {
        let spec = VmSpec { disks: vec![DiskBus::Usb], ..VmSpec::appliance(Firmware::Uefi, 1024) };
        let shown = shown(&spec, Accel::Tcg);
        assert!(shown.contains("-device qemu-xhci,id=xhci0\n"), "{shown}");
        assert!(
            shown.contains("-device usb-storage,bus=xhci0.0,drive=disk0,serial=DISK-LAB-0000,bootindex=10"),
            "{shown}"
        );
    }

    #[test]
    fn blank_uefi_machine_netboots_with_its_own_firmware() {
        insta::assert_snapshot!(shown(&VmSpec::blank(BootPath::Uefi, 1, 768), Accel::Kvm));
    }

    #[test]
    fn blank_bios_machine_netboots_with_the_ipxe_rom() {
        insta::assert_snapshot!(shown(&VmSpec::blank(BootPath::Bios, 2, 768), Accel::Tcg));
    }

    #[test]
    fn blank_bios_machine_without_ipxe_netboots_from_its_floppy() {
        let order = BootOrder::NetworkFirst;
        let spec = VmSpec { order, ..VmSpec::blank(BootPath::BiosUndionly, 3, 512) };
        insta::assert_snapshot!(shown(&spec, Accel::Tcg));
    }

    #[test]
    fn slow_disk_takes_only_so_many_bytes_a_second() {
        let spec = VmSpec { disk_writes: Some(1024), ..VmSpec::blank(BootPath::Bios, 1, 512) };
        let shown = arguments(&spec, Accel::Tcg).join(" ");
        let drive = "id=disk0,format=raw,discard=ignore,throttling.bps-write=1024,file=bios-1.disk0.raw";
        assert!(shown.contains(drive), "{shown}");
    }

    #[test]
    fn machine_with_many_disks_and_a_bmc_has_a_kcs_interface() {
        let disks = vec![DiskBus::Nvme, DiskBus::Virtio, DiskBus::Scsi, DiskBus::Sata];
        let spec = VmSpec { disks, kcs: Some(9004), ..VmSpec::blank(BootPath::UefiHttp, 4, 512) };
        insta::assert_snapshot!(shown(&spec, Accel::Tcg));
    }
}
