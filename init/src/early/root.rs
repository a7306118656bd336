//! The root slot: drivers for its disk, the wait for it, its mount.
//!
//! Must never give up, never take another slot than the boot loader chose (its kernel and modules belong together),
//! and never write to a disk except to put a half-written partition table back.

use std::path::Path;
use std::time::{Duration, Instant};

use bloomery_sys::block::{self, Partition, Sysfs};
use bloomery_sys::modules::{Coldplug, Modules};
use bloomery_sys::mount::{self, Flags, Mount, UmountFlags};
use bloomery_sys::uevent::Uevents;

use super::console::EarlyConsole;
use super::{Slot, has_init};
use crate::disk;

/// USB sticks and RAID controllers take up to half a minute; after this people are told.
const FIRST_MESSAGE: Duration = Duration::from_mins(1);
/// Then again and again: the first message has scrolled away.
const NEXT_MESSAGE: Duration = Duration::from_secs(30);
/// How long device events alone are trusted before drivers and partitions are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A disk whose table is half-written has no partitions; before that is believed, disks get this long to appear.
const HEAL_AFTER: Duration = Duration::from_secs(5);
/// The root's file system; its module has no hardware that would ask for it.
const ROOT_TYPE: &str = "squashfs";
/// The file systems of the state and of the partition with the configuration.
const LATER_TYPES: [&str; 2] = ["ext4", "vfat"];

pub(super) struct Drivers {
    modules: Option<Modules>,
    coldplug: Coldplug,
}

impl Drivers {
    pub(super) fn open(console: &EarlyConsole) -> Self {
        let modules = Modules::of_running_kernel()
            .inspect_err(|error| {
                console.problem(
                    "there are no drivers",
                    error,
                    "only disks that the kernel knows by itself work",
                );
            })
            .ok();
        let mut drivers = Self { modules, coldplug: Coldplug::default() };
        drivers.load(ROOT_TYPE, console);
        drivers
    }

    /// Drivers for what has appeared since the last time.
    fn follow(&mut self, console: &EarlyConsole) {
        let Some(modules) = &mut self.modules else { return };
        let report = self.coldplug.run(modules);
        if !report.loaded.is_empty() {
            console.log(&format!("drivers: {}", report.loaded.join(" ")));
        }
        for (name, error) in report.failed {
            // Most often a driver for several kinds of hardware that does not find its own.
            console.log(&format!("driver {name}: {}", bloomery_base::chain(&error)));
        }
    }

    /// The file systems that are mounted later; the real root's modules are not needed for them.
    pub(super) fn load_for_state(&mut self, console: &EarlyConsole) {
        for name in LATER_TYPES {
            self.load(name, console);
        }
    }

    fn load(&mut self, name: &str, console: &EarlyConsole) {
        if let Some(Err(error)) = self.modules.as_mut().map(|modules| modules.load(name)) {
            console.log(&format!("driver {name}: {}", bloomery_base::chain(&error)));
        }
    }
}

/// Waits for the slot's partition and mounts it. Returns when it is mounted and holds an init.
pub(super) fn wait_and_mount(slot: Slot, target: &Path, drivers: &mut Drivers, console: &EarlyConsole) {
    let sysfs = Sysfs::default();
    let events = Uevents::listen();
    let started = Instant::now();
    let mut next_message = FIRST_MESSAGE;
    let mut healed = false;
    loop {
        drivers.follow(console);
        let (candidates, mut trouble) = (candidates(&sysfs, slot), Vec::new());
        if let Some(chosen) = mount_first(&candidates, target, &mut trouble) {
            report(&candidates, chosen, console);
            return;
        }
        let waited = started.elapsed();
        if !healed && candidates.is_empty() && waited >= HEAL_AFTER {
            healed = heal(&sysfs, slot, console);
        }
        if waited >= next_message {
            explain(slot, waited, &sysfs, &trouble, console);
            next_message = waited + NEXT_MESSAGE;
            healed = false;
        }
        events.wait(LOOK_AGAIN);
    }
}

/// The slot's partitions, ordered by their place in the machine: the same at each boot.
fn candidates(sysfs: &Sysfs, slot: Slot) -> Vec<Partition> {
    let mut found = sysfs.partitions_named(slot.partition());
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Mounts the first that can be mounted and holds an init; what is wrong with the others goes to `trouble`.
fn mount_first<'a>(
    candidates: &'a [Partition],
    target: &Path,
    trouble: &mut Vec<String>,
) -> Option<&'a Partition> {
    candidates.iter().find(|partition| {
        let root =
            Mount { source: &partition.node, target, fstype: ROOT_TYPE, flags: Flags::MS_RDONLY, data: "" };
        match root.mount() {
            Ok(()) if has_init(target) => true,
            Ok(()) => {
                trouble.push(format!("{} holds no system", partition.node.display()));
                if let Err(error) = mount::unmount(target, UmountFlags::MNT_DETACH) {
                    trouble.push(bloomery_base::chain(&error));
                }
                false
            }
            Err(error) => {
                trouble.push(bloomery_base::chain(&error));
                false
            }
        }
    })
}

fn report(candidates: &[Partition], chosen: &Partition, console: &EarlyConsole) {
    console.log(&format!("root: {} of {} bytes", chosen.node.display(), chosen.size));
    if candidates.len() > 1 {
        let names: Vec<String> =
            candidates.iter().map(|candidate| candidate.node.display().to_string()).collect();
        console.say(&format!(
            "warning: {} disks hold this system ({}); started from {}. Disconnect the others.",
            names.len(),
            names.join(", "),
            chosen.node.display()
        ));
    }
}

/// Puts back the partition table of a disk whose power was cut while its table was written. Returns whether one was.
fn heal(sysfs: &Sysfs, slot: Slot, console: &EarlyConsole) -> bool {
    let with_partitions: Vec<String> =
        sysfs.partitions().into_iter().map(|partition| partition.disk).collect();
    let mut any = false;
    for device in sysfs.devices() {
        if device.read_only || with_partitions.contains(&device.name) {
            continue;
        }
        match disk::heal_table(&device.node, slot.partition()) {
            Ok(true) => {
                console.say(&format!(
                    "the partition table of {} was repaired from its backup",
                    device.node.display()
                ));
                reread(&device.node, console);
                any = true;
            }
            Ok(false) => {}
            Err(error) => console.log(&format!("{}: {error}", device.node.display())),
        }
    }
    any
}

fn reread(node: &Path, console: &EarlyConsole) {
    let result = std::fs::File::open(node)
        .map_err(|error| error.to_string())
        .and_then(|disk| block::reread_partitions(&disk).map_err(|error| bloomery_base::chain(&error)));
    if let Err(error) = result {
        console.say(&format!("{}: {error}; restart the machine", node.display()));
    }
}

fn explain(slot: Slot, waited: Duration, sysfs: &Sysfs, trouble: &[String], console: &EarlyConsole) {
    let seconds = waited.as_secs();
    console.say(&format!("still waiting for the partition {} after {seconds} s", slot.partition()));
    for line in trouble {
        console.say(&format!("  {line}"));
    }
    let disks: Vec<String> = sysfs
        .devices()
        .iter()
        .map(|device| format!("{} ({} MiB)", device.node.display(), device.size >> 20))
        .collect();
    let seen = if disks.is_empty() { "none".to_owned() } else { disks.join(", ") };
    console.say(&format!("  disks that are seen: {seen}"));
    console.say(if trouble.is_empty() {
        "  what to do: connect the disk or stick with the image, or try another port; it is found when it appears"
    } else {
        "  what to do: choose the other slot in the boot menu, or flash the image again"
    });
}

#[cfg(test)]
mod tests;
