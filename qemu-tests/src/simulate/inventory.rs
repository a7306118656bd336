//! Who a simulated machine is and what it is made of: all of it follows from its number.
//!
//! The hardware varies in what server classes are made of: manufacturer, product, processors, memory, disks.

use super::config::Firmware;
use bloomery_agent_api as pb;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// First half of every simulated machine's UUID: recognisable, and no vendor's placeholder.
const UUID_HIGH: u64 = 0x51a7_0000_0000_4000;
/// The variant bits of a UUID; the machine's number follows.
const UUID_LOW: u64 = 0x8000_0000_0000_0000;
/// First octets of every MAC: locally administered, other than those of the lab's virtual machines.
const MAC_PREFIX: [u8; 3] = [0x52, 0x54, 0x51];
/// A card of each machine that never gets an address.
const IDLE_MAC_PREFIX: [u8; 3] = [0x52, 0x54, 0x52];
const MB_PER_GB: u32 = 1024;
const GB: u64 = 1_000_000_000;

/// What a machine is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The machine's number.
    pub index: u32,
    /// SMBIOS UUID, which becomes the Server's name.
    pub uuid: Uuid,
    /// Hardware address of its network card.
    pub mac: [u8; 6],
    /// Its address.
    pub address: Ipv4Addr,
    /// Its firmware.
    pub firmware: Firmware,
}

impl Identity {
    /// Machine `index`.
    pub fn new(index: u32, address: Ipv4Addr, firmware: Firmware) -> Self {
        let uuid = Uuid::from_u64_pair(UUID_HIGH, UUID_LOW | u64::from(index));
        Self { index, uuid, mac: mac(MAC_PREFIX, index), address, firmware }
    }

    /// The MAC with `separator` between its octets.
    pub fn mac_text(&self, separator: char) -> String {
        text(self.mac, separator)
    }

    /// Its serial number.
    pub fn serial(&self) -> String {
        format!("SIM{:06}", self.index)
    }

    /// The name that DHCP gave it.
    pub fn hostname(&self) -> String {
        format!("sim-{}", self.index)
    }
}

fn mac(prefix: [u8; 3], index: u32) -> [u8; 6] {
    let mut mac = [0; 6];
    mac[..3].copy_from_slice(&prefix);
    mac[3..].copy_from_slice(&index.to_be_bytes()[1..]);
    mac
}

fn text(mac: [u8; 6], separator: char) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(&separator.to_string())
}

/// A model of server.
struct Model {
    manufacturer: &'static str,
    product: &'static str,
    family: &'static str,
    processor: (&'static str, &'static str),
    sockets: u32,
    cores: u32,
    /// MHz.
    speed: u32,
    /// GB in each of eight modules.
    module: u32,
    disks: &'static [(pb::StorageType, u64, &'static str)],
}

const INTEL: &str = "Intel(R) Corporation";
const AMD: &str = "Advanced Micro Devices, Inc.";
/// Machines in a row with one model: no multiple of the firmware kinds in a usual mix.
const SAME_MODEL: u32 = 5;
/// Modules of memory in every machine.
const MODULES: u32 = 8;

const X86: [Model; 4] = [
    Model {
        manufacturer: "Dell Inc.",
        product: "PowerEdge R650",
        family: "PowerEdge",
        processor: (INTEL, "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz"),
        sockets: 2,
        cores: 32,
        speed: 2000,
        module: 32,
        disks: &[
            (pb::StorageType::NvMe, 960, "Dell Ent NVMe"),
            (pb::StorageType::NvMe, 960, "Dell Ent NVMe"),
        ],
    },
    Model {
        manufacturer: "HPE",
        product: "ProLiant DL385 Gen10 Plus",
        family: "ProLiant",
        processor: (AMD, "AMD EPYC 7443 24-Core Processor"),
        sockets: 2,
        cores: 24,
        speed: 2850,
        module: 16,
        disks: &[(pb::StorageType::Ssd, 480, "MK000480GZXRA")],
    },
    Model {
        manufacturer: "Supermicro",
        product: "SYS-5019P-MR",
        family: "Server",
        processor: (INTEL, "Intel(R) Xeon(R) Silver 4210R CPU @ 2.40GHz"),
        sockets: 1,
        cores: 10,
        speed: 2400,
        module: 8,
        disks: &[
            (pb::StorageType::Ssd, 240, "INTEL SSDSC2KB24"),
            (pb::StorageType::Hdd, 8000, "ST8000NM000A"),
            (pb::StorageType::Hdd, 8000, "ST8000NM000A"),
        ],
    },
    Model {
        manufacturer: "Lenovo",
        product: "ThinkSystem SR630 V2",
        family: "ThinkSystem",
        processor: (INTEL, "Intel(R) Xeon(R) Platinum 8358 CPU @ 2.60GHz"),
        sockets: 2,
        cores: 32,
        speed: 2600,
        module: 64,
        disks: &[(pb::StorageType::NvMe, 3840, "SAMSUNG MZQL23T8HCLS")],
    },
];

const ARM: Model = Model {
    manufacturer: "GIGABYTE",
    product: "R152-P30-00",
    family: "Server",
    processor: ("Ampere(R)", "Ampere(R) Altra(R) Processor"),
    sockets: 1,
    cores: 80,
    speed: 3000,
    module: 16,
    disks: &[(pb::StorageType::NvMe, 1920, "MTFDKCC1T9TFR")],
};

/// What the machine's agent finds.
pub fn hardware(identity: &Identity) -> pb::HardwareInformation {
    let model = match identity.firmware {
        Firmware::Arm64 => &ARM,
        Firmware::Bios | Firmware::BiosUndionly | Firmware::Uefi | Firmware::UefiHttp => {
            // Not the number itself: with a mix of four kinds each kind would have one model only.
            &X86[(identity.index / SAME_MODEL) as usize % X86.len()]
        }
    };
    pb::HardwareInformation {
        system: Some(pb::SystemInformation {
            uuid: identity.uuid.to_string(),
            manufacturer: model.manufacturer.to_owned(),
            product_name: model.product.to_owned(),
            version: String::new(),
            serial_number: identity.serial(),
            sku_number: "simulated".to_owned(),
            family: model.family.to_owned(),
        }),
        compute: Some(compute(model)),
        memory: Some(memory(model)),
        storage: Some(storage(model, identity)),
        network: Some(network(identity)),
    }
}

fn compute(model: &Model) -> pb::ComputeInformation {
    let threads = if std::ptr::eq(model, &ARM) { model.cores } else { 2 * model.cores };
    let (manufacturer, product_name) = model.processor;
    let processor = pb::Processor {
        manufacturer: manufacturer.to_owned(),
        product_name: product_name.to_owned(),
        serial_number: String::new(),
        speed: model.speed,
        core_count: model.cores,
        thread_count: threads,
    };
    pb::ComputeInformation {
        total_core_count: model.sockets * model.cores,
        total_thread_count: model.sockets * threads,
        processor_count: model.sockets,
        processors: (0..model.sockets).map(|_| processor.clone()).collect(),
    }
}

fn memory(model: &Model) -> pb::MemoryInformation {
    let size = model.module * MB_PER_GB;
    let module = |slot: u32| pb::MemoryModule {
        manufacturer: "Samsung".to_owned(),
        product_name: "M393A4K40EB3-CWE".to_owned(),
        serial_number: format!("{slot:08X}"),
        r#type: "DDR4".to_owned(),
        size,
        speed: 3200,
    };
    pb::MemoryInformation {
        total_size: MODULES * size,
        module_count: MODULES,
        modules: (0..MODULES).map(module).collect(),
    }
}

fn storage(model: &Model, identity: &Identity) -> pb::StorageInformation {
    let devices: Vec<pb::StorageDevice> = (0_u8..)
        .zip(model.disks)
        .map(|(number, &(kind, gigabytes, name))| {
            let device = match kind {
                pb::StorageType::NvMe => format!("nvme{number}n1"),
                _ => format!("sd{}", char::from(b'a' + number)),
            };
            pb::StorageDevice {
                r#type: kind.into(),
                size: gigabytes * GB,
                model: name.to_owned(),
                serial: format!("{}D{number}", identity.serial()),
                name: device.clone(),
                device_name: format!("/dev/{device}"),
                uuid: String::new(),
                wwid: format!("eui.{:012x}{number:04x}", identity.index),
                // New disks: read, and nothing found.
                contents: Some(pb::DiskContents { read: true, ..pb::DiskContents::default() }),
            }
        })
        .collect();
    pb::StorageInformation {
        total_size: devices.iter().map(|device| device.size).sum(),
        device_count: u32::try_from(devices.len()).unwrap_or_default(),
        devices,
    }
}

fn network(identity: &Identity) -> pb::NetworkInformation {
    let card = |index, name: &str, flags: &str, mac, addresses| pb::NetworkInterface {
        index,
        name: name.to_owned(),
        flags: flags.to_owned(),
        mtu: 1500,
        mac,
        addresses,
    };
    let used = card(
        2,
        "eno1",
        "up|broadcast|multicast|running",
        identity.mac_text(':'),
        vec![format!("{}/24", identity.address)],
    );
    let idle =
        card(3, "eno2", "broadcast|multicast", text(mac(IDLE_MAC_PREFIX, identity.index), ':'), Vec::new());
    pb::NetworkInformation { interface_count: 2, interfaces: vec![used, idle] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::Mix;
    use std::collections::{BTreeMap, BTreeSet};

    fn identity(index: u32) -> Identity {
        Identity::new(index, Ipv4Addr::LOCALHOST, Mix::default().of(index))
    }

    #[test]
    fn identities_differ_in_everything() {
        let all: Vec<Identity> = (0..1000).map(identity).collect();
        let different = |key: fn(&Identity) -> String| all.iter().map(key).collect::<BTreeSet<_>>().len();
        assert_eq!(different(|identity| identity.uuid.to_string()), 1000);
        assert_eq!(different(|identity| identity.mac_text(':')), 1000);
        assert_eq!(different(Identity::serial), 1000);
        assert_eq!(all[7].uuid.to_string(), "51a70000-0000-4000-8000-000000000007");
        assert_eq!(all[7].mac_text('-'), "52-54-51-00-00-07");
    }

    #[test]
    fn every_firmware_comes_with_different_hardware() {
        let mut products: BTreeMap<Firmware, BTreeSet<String>> = BTreeMap::new();
        let kinds: Mix = "bios,bios-undionly,uefi,uefi-http,arm64".parse().expect("a mix");
        for identity in (0..200).map(|index| Identity::new(index, Ipv4Addr::LOCALHOST, kinds.of(index))) {
            let system = hardware(&identity).system.expect("a system");
            products.entry(identity.firmware).or_default().insert(system.product_name);
        }
        for (firmware, products) in products {
            let expected = if firmware == Firmware::Arm64 { 1 } else { X86.len() };
            assert_eq!(products.len(), expected, "{firmware:?}: {products:?}");
        }
    }

    #[test]
    fn totals_are_sums() {
        let hardware = hardware(&identity(2));
        let (compute, storage) = (hardware.compute.expect("processors"), hardware.storage.expect("disks"));
        assert_eq!(compute.total_core_count, compute.processors.iter().map(|p| p.core_count).sum::<u32>());
        assert_eq!(storage.total_size, storage.devices.iter().map(|d| d.size).sum::<u64>());
        assert!(storage.total_size > 0);
    }
}
