//! What lies on top of disks and keeps them busy: software arrays and mapped devices. They are taken down, from the top.
//!
//! It must never touch one that lies on nothing that is to be erased. One that cannot be taken down is said, and the
//! disk below then fails with who holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Board;
use crate::disks::{self, Disk, Places};
use crate::inventory::storage;

/// For each device of sysfs that lies on others: the names of these whole devices.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Takes down what lies on these disks, and looks at them anew.
pub(super) fn free(places: &Places, disks: Vec<Disk>, board: &Board) -> Vec<Disk> {
    let block = places.sysfs.join(storage::BLOCK_DEVICES);
    let targets: BTreeSet<String> = disks.iter().map(|disk| disk.name.clone()).collect();
    let order = order(&graph(&block), &targets);
    if order.is_empty() {
        return disks;
    }
    for name in order {
        match take_down(places, &block, &name) {
            Ok(()) => board.say(&format!("OK     {name}, which held a disk, is taken down")),
            Err(reason) => board.say(&format!("ERROR  {name} still holds a disk: {reason}")),
        }
    }
    // Partitions and holders are others now; what vanished is still to be reported.
    disks
        .into_iter()
        .map(|old| disks::find(places).into_iter().find(|new| new.name == old.name).unwrap_or(old))
        .collect()
}

fn take_down(places: &Places, block: &Path, name: &str) -> Result<(), String> {
    let chain = |error: &dyn std::error::Error| bloomery_base::chain(error);
    if name.starts_with("dm-") {
        let mapped = storage::attribute(&block.join(name), "dm/name");
        bloomery_sys::dm::remove(&mapped).map_err(|error| chain(&error))
    } else {
        bloomery_sys::md::stop(&places.dev.join(name)).map_err(|error| chain(&error))
    }
}

/// What lies on what, where it can be taken down.
fn graph(block: &Path) -> Graph {
    let layers =
        disks::names(block).into_iter().filter(|name| name.starts_with("dm-") || name.starts_with("md"));
    layers
        .map(|name| {
            let slaves = block.join(&name).join("slaves");
            let below = disks::names(&slaves).iter().map(|slave| whole(&slaves.join(slave), slave)).collect();
            (name, below)
        })
        .collect()
}

/// The disk of a partition, in whose directory it lies; else the device itself.
fn whole(link: &Path, name: &str) -> String {
    let real = std::fs::canonicalize(link).unwrap_or_default();
    let parent = real.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match parent {
        Some(parent) if real.join("partition").exists() => parent.to_owned(),
        _ => name.to_owned(),
    }
}

/// The devices to take down so that nothing lies on the targets any more, each after those on top of it.
fn order(graph: &Graph, targets: &BTreeSet<String>) -> Vec<String> {
    let mut above: BTreeSet<&String> = BTreeSet::new();
    // Grows until nothing new lies on anything found.
    loop {
        let more: Vec<&String> = graph
            .iter()
            .filter(|(name, below)| {
                !above.contains(name) && below.iter().any(|it| targets.contains(it) || above.contains(it))
            })
            .map(|(name, _)| name)
            .collect();
        if more.is_empty() {
            break;
        }
        above.extend(more);
    }
    let mut order = Vec::new();
    while !above.is_empty() {
        let tops: Vec<&String> = (above.iter())
            .filter(|name| {
                !above.iter().any(|other| graph.get(*other).is_some_and(|below| below.contains(**name)))
            })
            .copied()
            .collect();
        if tops.is_empty() {
            // A circle, which the kernel does not make.
            order.extend(above.iter().map(|name| (*name).clone()));
            break;
        }
        above.retain(|name| !tops.contains(name));
        order.extend(tops.into_iter().cloned());
    }
    order
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn made(edges: &[(&str, &[&str])]) -> Graph {
        edges.iter().map(|(name, below)| ((*name).to_owned(), set(below))).collect()
    }

    #[test]
    fn takes_down_what_is_on_top_first() {
        let graph = made(&[
            ("md0", &["sda", "sdb"]),
            ("dm-0", &["md0"]),
            ("dm-1", &["dm-0"]),
            ("dm-2", &["dm-0", "sdc"]),
        ]);
        assert_eq!(order(&graph, &set(&["sda", "sdb", "sdc"])), ["dm-1", "dm-2", "dm-0", "md0"]);
        assert_eq!(order(&graph, &set(&["sdc"])), ["dm-2"]);
        assert_eq!(order(&graph, &set(&["sdz"])), [""; 0]);
    }

    #[test]
    fn a_circle_does_not_hold_the_wipe_up() {
        let graph = made(&[("dm-0", &["dm-1", "sda"]), ("dm-1", &["dm-0"])]);
        assert_eq!(order(&graph, &set(&["sda"])).len(), 2);
    }

    #[test]
    fn a_partition_stands_for_its_disk() {
        let root = tempfile::tempdir().unwrap();
        let block = root.path().join("block");
        std::fs::create_dir_all(block.join("sda/sda2")).unwrap();
        std::fs::write(block.join("sda/sda2/partition"), "2\n").unwrap();
        for (name, slave) in [("dm-0", "sda/sda2"), ("dm-1", "dm-0")] {
            let slaves = block.join(name).join("slaves");
            std::fs::create_dir_all(&slaves).unwrap();
            symlink(block.join(slave), slaves.join(Path::new(slave).file_name().unwrap())).unwrap();
        }
        assert_eq!(graph(&block), made(&[("dm-0", &["sda"]), ("dm-1", &["dm-0"])]));
    }
}
