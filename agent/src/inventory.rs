//! What this machine is made of, in the words of the agent's wire (spec §5.2).
//!
//! It must never open a device, least of all a disk: everything comes from sysfs and netlink. It must never
//! fail either; what cannot be read is left out.

use std::path::{Path, PathBuf};

use bloomery_agent_api::HardwareInformation;
use bloomery_hostnet::Link;

pub mod network;
pub mod smbios;
pub mod storage;

/// Where the kernel shows devices.
pub const SYSFS: &str = "/sys";

/// What a machine said about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// The hardware as it goes over the wire.
    pub hardware: HardwareInformation,
    /// Addresses by which the machine is reached now.
    pub addresses: Vec<std::net::IpAddr>,
}

impl Inventory {
    /// The machine's identity, if its firmware gives it one.
    pub fn uuid(&self) -> Option<&str> {
        let system = self.hardware.system.as_ref()?;
        Some(system.uuid.as_str()).filter(|uuid| !uuid.is_empty())
    }
}

/// Reads everything anew. `sysfs` is `/sys` except in tests.
pub fn read(sysfs: &Path, links: &[Link]) -> Inventory {
    let tables: PathBuf = sysfs.join(smbios::TABLES);
    let firmware = smbios::read(&tables).unwrap_or_else(|error| {
        let error = bloomery_base::chain(&error);
        tracing::warn!(%error, "no smbios tables");
        smbios::Firmware::default()
    });
    Inventory {
        hardware: HardwareInformation {
            system: Some(firmware.system),
            compute: Some(firmware.compute),
            memory: Some(firmware.memory),
            storage: Some(storage::read(&sysfs.join(storage::BLOCK_DEVICES))),
            network: Some(network::information(links)),
        },
        addresses: network::reachable_addresses(links),
    }
}
