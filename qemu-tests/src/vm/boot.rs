//! Boot order of a machine: which of its devices the firmware tries first, at power-on and while it runs.
//!
//! Only numbers and names; it talks to no machine.

use super::spec::{BootOrder, BootPath, VmSpec};

/// QEMU's name of the network card.
pub(super) const CARD: &str = "nic0";
/// QEMU's name of the floppy controller that a plain PXE client boots from.
pub(super) const FLOPPY: &str = "fdc0";
/// Before every disk.
const NETWORK_FIRST: usize = 1;
/// After every disk.
const NETWORK_LAST: usize = 90;
/// The first disk's place.
const DISKS: usize = 10;

/// The network's place in the order.
pub(super) fn network_index(spec: &VmSpec) -> usize {
    match spec.order {
        BootOrder::NetworkFirst => NETWORK_FIRST,
        BootOrder::DiskFirst => NETWORK_LAST,
    }
}

/// The place of disk `index`.
pub(super) fn disk_index(index: usize) -> usize {
    DISKS + index
}

/// The property of a running QEMU that decides, with its value: it is read at the next reset.
pub(super) fn property(spec: &VmSpec) -> (String, &'static str, usize) {
    let (device, property) = match spec.netboot {
        Some(BootPath::BiosUndionly) => (FLOPPY, "bootindexA"),
        _ => (CARD, "bootindex"),
    };
    (format!("/machine/peripheral/{device}"), property, network_index(spec))
}
