//! Disks that cannot be erased because the kernel does not show them, or shows no capacity: a controller without a
//! driver, one that failed, disks hidden behind another controller. From sysfs alone.
//!
//! It must never take what it does not see for erased: a machine is clean only if there is nothing of this.

use std::path::Path;

use super::Places;
use crate::inventory::storage;

/// PCI base class of mass storage controllers, as sysfs writes it.
const MASS_STORAGE: &str = "0x01";
/// State of an `NVMe` controller whose namespaces are shown.
const LIVE: &str = "live";

/// What may hold data and is no disk that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// For people: `sdc`, `nvme0`, `PCI 0000:03:00.0`.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
    /// Model, if it is a disk and that is known.
    pub model: String,
    /// Serial number, likewise.
    pub serial: String,
}

impl Unseen {
    fn new(name: String, reason: String) -> Self {
        Self { name, reason, model: String::new(), serial: String::new() }
    }
}

/// All there is, in the order of kind and name.
pub fn find(places: &Places) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    let block = places.sysfs.join(storage::BLOCK_DEVICES);
    if let Err(error) = std::fs::read_dir(&block) {
        let reason = format!("the kernel's list of disks cannot be read: {error}");
        unseen.push(Unseen::new(block.display().to_string(), reason));
    }
    unseen.extend(super::without_capacity(places).into_iter().map(|name| Unseen {
        reason: "it shows no capacity, as broken disks do: take it out of this machine".to_owned(),
        model: storage::model(&block.join(&name)),
        serial: storage::serial(&block.join(&name)),
        name,
    }));
    let nvme = places.sysfs.join("class/nvme");
    unseen.extend(super::names(&nvme).into_iter().filter_map(|name| {
        let state = storage::attribute(&nvme.join(&name), "state");
        let reason = format!(
            "the NVMe controller is {state}, and does not show its disks: take it out of this machine"
        );
        (!state.is_empty() && state != LIVE).then_some(Unseen::new(name, reason))
    }));
    let pci = places.sysfs.join("bus/pci/devices");
    unseen.extend(super::names(&pci).into_iter().filter_map(|address| {
        let reason = controller(&pci.join(&address))?;
        Some(Unseen::new(format!("PCI {address}"), reason))
    }));
    unseen
}

/// What keeps the disks of a storage controller from being seen; none if nothing does.
fn controller(device: &Path) -> Option<String> {
    if !storage::attribute(device, "class").starts_with(MASS_STORAGE) {
        return None;
    }
    if !device.join("driver").exists() {
        let id = [storage::attribute(device, "vendor"), storage::attribute(device, "device")];
        let id = id.map(|hex| hex.trim_start_matches("0x").to_owned()).join(":");
        return Some(format!(
            "the storage controller {id} has no driver here, or its driver gave up on it, and its disks are not seen: \
             take it out, or switch it off in the firmware if it has none"
        ));
    }
    // Of ahci: NVMe disks that the firmware has hidden behind a SATA controller.
    match storage::attribute(device, "remapped_nvme").as_str() {
        "" | "0" => None,
        hidden => Some(format!(
            "{hidden} NVMe disks are hidden behind this SATA controller: set it to AHCI instead of RAID in the firmware"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), format!("{text}\n")).unwrap();
        }
    }

    fn machine() -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        let places = Places { sysfs: root.path().join("sys"), dev: root.path().join("dev") };
        fs::create_dir_all(places.sysfs.join("block")).unwrap();
        (root, places)
    }

    fn names(places: &Places) -> Vec<String> {
        find(places).into_iter().map(|unseen| unseen.name).collect()
    }

    #[test]
    fn a_storage_controller_without_a_driver_may_hide_disks() {
        let (_root, places) = machine();
        let pci = places.sysfs.join("bus/pci/devices");
        let drivers = places.sysfs.join("bus/pci/drivers/ahci");
        fs::create_dir_all(&drivers).unwrap();
        let ids = [("vendor", "0x1000"), ("device", "0x005f")];
        put(&pci.join("0000:00:1f.2"), &[("class", "0x010601"), ids[0], ids[1]]);
        symlink(&drivers, pci.join("0000:00:1f.2/driver")).unwrap();
        put(&pci.join("0000:01:00.0"), &[("class", "0x020000"), ids[0], ids[1]]);
        assert_eq!(find(&places), []);
        put(&pci.join("0000:03:00.0"), &[("class", "0x010400"), ids[0], ids[1]]);
        put(&pci.join("0000:00:1f.2"), &[("remapped_nvme", "0")]);
        let found = find(&places);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].name, "PCI 0000:03:00.0");
        assert!(found[0].reason.contains("1000:005f has no driver"), "{found:?}");
        put(&pci.join("0000:00:1f.2"), &[("remapped_nvme", "2")]);
        assert!(find(&places)[0].reason.starts_with("2 NVMe disks are hidden"));
    }

    #[test]
    fn a_failed_nvme_controller_and_a_disk_without_capacity_are_not_seen() {
        let (_root, places) = machine();
        let nvme = places.sysfs.join("class/nvme");
        for (name, state) in [("nvme0", "live"), ("nvme1", "dead"), ("nvme2", "connecting")] {
            put(&nvme.join(name), &[("state", state)]);
        }
        let block = places.sysfs.join("block");
        put(&block.join("sda"), &[("size", "0"), ("removable", "0")]);
        put(&block.join("sdb"), &[("size", "0"), ("removable", "1")]);
        put(&block.join("sdc"), &[("size", "8"), ("removable", "0")]);
        assert_eq!(names(&places), ["sda", "nvme1", "nvme2"]);
    }

    #[test]
    fn a_kernel_that_shows_no_list_of_disks_shows_nothing() {
        let (_root, places) = machine();
        fs::remove_dir(places.sysfs.join("block")).unwrap();
        let found = find(&places);
        assert!(found.len() == 1 && found[0].reason.contains("cannot be read"), "{found:?}");
    }
}
