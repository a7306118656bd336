//! What a virtual machine is made of.

use crate::accel::Emulated;
use crate::contract::{APPLIANCE, APPLIANCE_MAC, APPLIANCE_UUID};
use std::{fmt, path::PathBuf, str::FromStr};

/// Processors of every machine: the least on which concurrency shows.
const CPUS: u8 = 2;

/// Which firmware starts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`.
    Bios,
    /// OVMF.
    Uefi,
}

/// How a machine boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootPath {
    /// `SeaBIOS` and the card's iPXE ROM, which asks as iPXE from its first packet on.
    Bios,
    /// `SeaBIOS` and a PXE client that does not ask as iPXE, as in ROMs of card makers: it is given undionly.kpxe.
    ///
    /// No such ROM is free. This one is iPXE's kernel on a boot floppy (see `vm/loader.rs`), which asks with another
    /// user class, loads the offered file over TFTP and starts it on its own UNDI, as any PXE ROM does.
    BiosUndionly,
    /// OVMF's own PXE client.
    Uefi,
    /// OVMF's HTTP boot, its PXE client switched off.
    UefiHttp,
    /// OVMF and the card's iPXE ROM for UEFI: the firmware already is iPXE.
    Ipxe,
}

impl BootPath {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Bios, Self::BiosUndionly, Self::Uefi, Self::UefiHttp, Self::Ipxe];

    /// What starts such a machine.
    pub fn firmware(self) -> Firmware {
        match self {
            Self::Bios | Self::BiosUndionly => Firmware::Bios,
            Self::Uefi | Self::UefiHttp | Self::Ipxe => Firmware::Uefi,
        }
    }

    /// As users write it; machines are named by it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::BiosUndionly => "bios-undionly",
            Self::Uefi => "uefi",
            Self::UefiHttp => "uefi-http",
            Self::Ipxe => "ipxe",
        }
    }

    /// First word of the SMBIOS UUID, to be told apart in lists.
    fn uuid_prefix(self) -> &'static str {
        match self {
            Self::Bios => "b1050000",
            Self::BiosUndionly => "b1050001",
            Self::Uefi => "0ef10000",
            Self::UefiHttp => "0ef10001",
            Self::Ipxe => "0ef10002",
        }
    }
}

impl fmt::Display for BootPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for BootPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|path| path.name() == text).ok_or_else(|| {
            format!("unknown kind {text:?}; known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// What the firmware tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOrder {
    /// The disks, then the network: how servers are set up, so that telling them to netboot once matters.
    DiskFirst,
    /// The network, then the disks.
    NetworkFirst,
}

/// How a disk is attached: the lab covers the common families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// `NVMe`.
    Nvme,
    /// SATA behind the chipset's AHCI controller.
    Sata,
    /// SCSI behind a virtio controller.
    Scsi,
    /// A stick on a USB 3 port.
    Usb,
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
    /// How it boots from the network; `None` for a machine that never does.
    pub netboot: Option<BootPath>,
    /// What its firmware tries first.
    pub order: BootOrder,
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
    /// How its disks are attached, the first one first.
    pub disks: Vec<DiskBus>,
    /// How many bytes a second each of its disks takes, and then without discards; `None` for as many as it can.
    pub disk_writes: Option<u32>,
    /// Port on the lab's loopback where the BMC waits for the machine's KCS interface.
    pub kcs: Option<u16>,
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// Which processor an emulated machine has.
    pub emulated: Emulated,
    /// A kernel that QEMU starts in the firmware's place.
    pub kernel: Option<Kernel>,
}

/// A kernel without a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its file.
    pub image: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// What it is told.
    pub command_line: String,
}

impl VmSpec {
    /// The machine that the image boots on.
    pub fn appliance(firmware: Firmware, memory: u32) -> Self {
        Self {
            name: APPLIANCE.to_owned(),
            firmware,
            netboot: None,
            order: BootOrder::DiskFirst,
            uuid: APPLIANCE_UUID.to_owned(),
            mac: APPLIANCE_MAC.to_owned(),
            tap: "tap0".to_owned(),
            memory,
            cpus: CPUS,
            disks: vec![DiskBus::Virtio],
            disk_writes: None,
            kcs: None,
            smbios: Smbios {
                manufacturer: "Bloomery Lab".to_owned(),
                product: "Appliance".to_owned(),
                serial: "LAB-0000".to_owned(),
            },
            emulated: Emulated::default(),
            kernel: None,
        }
    }

    /// Blank machine `number` (1 to 80) of the lab. Everything about it follows from path and number, so that it is
    /// the same machine in every run.
    pub fn blank(path: BootPath, number: u8, memory: u32) -> Self {
        let bus = match path.firmware() {
            Firmware::Bios => DiskBus::Sata,
            Firmware::Uefi => DiskBus::Nvme,
        };
        Self {
            name: format!("{path}-{number}"),
            firmware: path.firmware(),
            netboot: Some(path),
            order: BootOrder::DiskFirst,
            uuid: format!("{}-0000-4000-8000-0000000000{number:02x}", path.uuid_prefix()),
            mac: format!("52:54:00:77:01:{number:02x}"),
            tap: format!("tap{number}"),
            memory,
            cpus: CPUS,
            disks: vec![bus],
            disk_writes: None,
            kcs: None,
            smbios: Smbios {
                manufacturer: "Bloomery Lab".to_owned(),
                product: format!("Blank {}", path.name().to_uppercase()),
                serial: format!("LAB-{number:04}"),
            },
            emulated: Emulated::default(),
            kernel: None,
        }
    }

    /// File of disk `index` in the lab's folder. The appliance's is an overlay of the image; those of machines are
    /// raw, so that anyone can look at their blocks.
    pub fn disk_file(&self, index: usize) -> String {
        match self.netboot {
            None => format!("{}.qcow2", self.name),
            Some(_) => format!("{}.disk{index}.raw", self.name),
        }
    }
}
