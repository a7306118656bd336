//! Disks, from sysfs alone (spec §5.2).
//!
//! It must never open a block device, not even for reading: S1 says that nothing is written to a machine
//! before it is accepted, and what is never opened cannot be written to.

use std::path::Path;

use bloomery_agent_api::{StorageDevice, StorageInformation, StorageType};

/// Below sysfs: one entry for each whole block device.
pub const BLOCK_DEVICES: &str = "block";
/// Kernel names that are no disks of this machine: made by software, optical, floppy, or generic SCSI.
const NOT_DISKS: [&str; 12] =
    ["dm-", "drbd", "fd", "loop", "md", "mtdblock", "nbd", "ram", "rbd", "sg", "sr", "zram"];
/// Unit of `size` in sysfs, whatever the device's own sectors are.
const SECTOR: u64 = 512;
/// Header of a SCSI vital product data page (SPC-5 §7.7.1).
const VPD_HEADER: usize = 4;
/// sysfs attributes are at most a page; a vital product data page at most 255 bytes and its header.
const MAX_ATTRIBUTE: usize = 4096;

/// All disks, ordered by kernel name.
pub fn read(block_devices: &Path) -> StorageInformation {
    let Ok(entries) = std::fs::read_dir(block_devices) else { return StorageInformation::default() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let devices: Vec<StorageDevice> =
        names.iter().filter_map(|name| disk(&block_devices.join(name), name)).collect();
    StorageInformation {
        total_size: devices.iter().fold(0, |total, disk| total.saturating_add(disk.size)),
        device_count: u32::try_from(devices.len()).unwrap_or(u32::MAX),
        devices,
    }
}

/// Whether the block device at `device` in sysfs is a disk of this machine, whatever its size is.
pub fn is_disk(device: &Path, name: &str) -> bool {
    // Boot and RPMB areas of an eMMC show up as devices beside it; they hold firmware and are not disks.
    let area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    // The single paths of a multipath NVMe namespace are hidden: they have no device node.
    !area && !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) && attribute(device, "hidden") != "1"
}

/// The disk at `device` in sysfs; `None` if it is none, or has no medium.
pub fn disk(device: &Path, name: &str) -> Option<StorageDevice> {
    if !is_disk(device, name) {
        return None;
    }
    let size = attribute(device, "size").parse::<u64>().ok()?.saturating_mul(SECTOR);
    if size == 0 {
        return None;
    }
    Some(StorageDevice {
        r#type: kind(name, &attribute(device, "queue/rotational")).into(),
        size,
        model: model(device),
        serial: serial(device),
        name: attribute(device, "device/name"),
        device_name: format!("/dev/{}", name.replace('!', "/")),
        uuid: either(device, "uuid"),
        wwid: either(device, "wwid"),
        contents: None,
    })
}

fn kind(name: &str, rotational: &str) -> StorageType {
    match rotational {
        _ if name.contains("nvme") => StorageType::NvMe,
        _ if name.contains("mmc") => StorageType::Sd,
        "1" => StorageType::Hdd,
        "0" => StorageType::Ssd,
        _ => StorageType::Unknown,
    }
}

/// The model's name, if the device tells one.
pub fn model(device: &Path) -> String {
    either(device, "model")
}

/// `NVMe` and virtio have it as an attribute, SCSI and SATA in the unit serial number page (SPC-5 §7.7.19).
pub fn serial(device: &Path) -> String {
    let serial = either(device, "serial");
    if !serial.is_empty() {
        return serial;
    }
    let page = read_bounded(&device.join("device/vpd_pg80"));
    printable(page.get(VPD_HEADER..).unwrap_or_default())
}

/// The attribute of the block device, or else of the device behind it.
fn either(device: &Path, name: &str) -> String {
    let own = attribute(device, name);
    if own.is_empty() { attribute(device, &format!("device/{name}")) } else { own }
}

/// An attribute in sysfs as readable text; empty if there is none.
pub fn attribute(device: &Path, name: &str) -> String {
    printable(&read_bounded(&device.join(name)))
}

fn read_bounded(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    bytes.truncate(MAX_ATTRIBUTE);
    bytes
}

/// Firmware pads with blanks and NULs, and sometimes holds noise.
fn printable(bytes: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().filter(|character| !character.is_control()).collect();
    text.trim().to_owned()
}

#[cfg(test)]
#[path = "storage/tests.rs"]
mod tests;
