//! What a virtual machine is made of.

use crate::contract::{APPLIANCE, APPLIANCE_MAC, APPLIANCE_UUID};

/// Processors of every machine: the least on which concurrency shows.
const CPUS: u8 = 2;

/// Which firmware starts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`; network boot through iPXE's ROM.
    Bios,
    /// OVMF with its own network stack.
    Uefi,
}

/// How the disk is attached: the lab covers the three common families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// `NVMe`.
    Nvme,
    /// SATA behind the chipset's AHCI controller.
    Sata,
}

/// SMBIOS texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smbios {
    /// Type 1 and 3 manufacturer.
    pub manufacturer: String,
    /// Type 1 product name.
    pub product: String,
    /// Type 1 serial number; type 2 and 3 get it with a prefix.
    pub serial: String,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// Unique in the lab; names its files and its child process.
    pub name: String,
    /// What starts it.
    pub firmware: Firmware,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
    /// Its network card's address, lower case with colons.
    pub mac: String,
    /// Its tap device, at most 15 bytes.
    pub tap: String,
    /// RAM in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u8,
    /// How the disk `NAME.qcow2` is attached.
    pub bus: DiskBus,
    /// Network before disk; otherwise the disk only.
    pub network_boot: bool,
    /// What the machine says of itself.
    pub smbios: Smbios,
}

impl VmSpec {
    /// The machine that the image boots on.
    pub fn appliance(firmware: Firmware, memory: u32) -> Self {
        Self {
            name: APPLIANCE.to_owned(),
            firmware,
            uuid: APPLIANCE_UUID.to_owned(),
            mac: APPLIANCE_MAC.to_owned(),
            tap: "tap0".to_owned(),
            memory,
            cpus: CPUS,
            bus: DiskBus::Virtio,
            network_boot: false,
            smbios: Smbios {
                manufacturer: "Bloomery Lab".to_owned(),
                product: "Appliance".to_owned(),
                serial: "LAB-0000".to_owned(),
            },
        }
    }

    /// Blank machine `number` (1 to 255) of the lab. Everything about it follows from firmware and number, so that
    /// it is the same machine in every run.
    pub fn blank(firmware: Firmware, number: u8, memory: u32) -> Self {
        let (kind, uuid_prefix, bus) = match firmware {
            Firmware::Bios => ("bios", "b1050000", DiskBus::Sata),
            Firmware::Uefi => ("uefi", "0ef10000", DiskBus::Nvme),
        };
        Self {
            name: format!("{kind}-{number}"),
            firmware,
            uuid: format!("{uuid_prefix}-0000-4000-8000-0000000000{number:02x}"),
            mac: format!("52:54:00:77:01:{number:02x}"),
            tap: format!("tap{number}"),
            memory,
            cpus: CPUS,
            bus,
            network_boot: true,
            smbios: Smbios {
                manufacturer: "Bloomery Lab".to_owned(),
                product: format!("Blank {}", kind.to_uppercase()),
                serial: format!("LAB-{number:04}"),
            },
        }
    }
}
