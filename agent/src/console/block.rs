//! The block that says what this machine is, what was done and what comes next.
//!
//! It must never be wider than 80 columns where its words allow it: that is what a text console has.

use std::fmt::Write as _;

use bloomery_agent_api::{DiskContents, HardwareInformation, StorageDevice, StorageType};

use super::size;
use crate::inventory::Inventory;
use crate::orders::{Answer, Thoroughness};

const RULE: &str = "==============================================================================";
const THIN: &str = "------------------------------------------------------------------------------";
/// Disks and cards shown one by one; a storage server has a hundred.
const MOST_LINES: usize = 12;
/// Different contents of disks, and disks named for one of them.
const MOST_GROUPS: usize = 3;
const MOST_NAMES: usize = 6;

/// The block for a registered machine.
pub fn machine(endpoint: &str, inventory: &Inventory, answer: &Answer) -> String {
    let uuid = inventory.uuid().unwrap_or("none");
    let mut text =
        format!("\n{RULE}\n  Bloomery agent {:<24} plane  {endpoint}\n{THIN}\n", env!("CARGO_PKG_VERSION"));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    row("machine", uuid);
    hardware(&inventory.hardware, &mut row);
    let _ = writeln!(text, "{THIN}");
    next_steps(&mut text, uuid, answer);
    let _ = writeln!(text, "{RULE}");
    text
}

fn hardware(hardware: &HardwareInformation, row: &mut impl FnMut(&str, &str)) {
    let HardwareInformation { system, compute, memory, storage, network } = hardware;
    if let Some(system) = system {
        row(
            "system",
            &joined(&[
                &system.manufacturer,
                &system.product_name,
                &labelled("serial", &system.serial_number),
            ]),
        );
    }
    if let Some(compute) = compute {
        let model = compute.processors.first().map_or("", |processor| processor.product_name.as_str());
        row(
            "cpus",
            &joined(&[
                &format!("{} x", compute.processor_count),
                model,
                &format!("({} cores, {} threads)", compute.total_core_count, compute.total_thread_count),
            ]),
        );
    }
    if let Some(memory) = memory {
        row("memory", &format!("{} MB, modules: {}", memory.total_size, memory.module_count));
    }
    if let Some(storage) = storage {
        rows("disks", row, storage.devices.iter().map(disk));
        contents(&storage.devices, row);
    }
    if let Some(network) = network {
        rows(
            "network",
            row,
            network
                .interfaces
                .iter()
                .map(|card| joined(&[&format!("{:<8}", card.name), &card.mac, &card.addresses.join(" ")])),
        );
    }
}

fn disk(disk: &StorageDevice) -> String {
    let kind = StorageType::try_from(disk.r#type).unwrap_or(StorageType::Unknown);
    joined(&[
        &format!("{:<12}", disk.device_name),
        &format!("{:>10}", size(disk.size)),
        kind.as_str_name(),
        &disk.model,
        &labelled("serial", &disk.serial),
    ])
}

/// What the disks hold, as far as reading tells: a row for all those that hold the same.
fn contents(disks: &[StorageDevice], row: &mut impl FnMut(&str, &str)) {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for disk in disks {
        let held = held(disk.contents.as_ref());
        let name = disk.device_name.trim_start_matches("/dev/");
        match groups.iter_mut().find(|(other, _)| *other == held) {
            Some((_, names)) => names.push(name),
            None => groups.push((held, vec![name])),
        }
    }
    let beyond = groups.len().saturating_sub(MOST_GROUPS);
    for (index, (held, names)) in groups.iter().take(MOST_GROUPS).enumerate() {
        let more = names.len().saturating_sub(MOST_NAMES);
        let more = if more > 0 { format!("and {more} more") } else { String::new() };
        let names = joined(&[&names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(" "), &more]);
        row(if index == 0 { "on them" } else { "" }, &format!("{held} ({names})"));
    }
    if beyond > 0 {
        row("", &format!("and {beyond} disks with other contents"));
    }
}

fn held(contents: Option<&DiskContents>) -> String {
    match contents {
        None => "not read".to_owned(),
        Some(DiskContents { read: true, found, .. }) if found.is_empty() => "nothing".to_owned(),
        Some(DiskContents { read: true, found, .. }) => found.join(", "),
        Some(DiskContents { read: false, found, error }) => {
            joined(&[&found.join(", "), &format!("not known: {error}")])
        }
    }
}

/// One row for each, the name before the first; "none" if there is none.
fn rows(name: &str, row: &mut impl FnMut(&str, &str), mut values: impl ExactSizeIterator<Item = String>) {
    let beyond = values.len().saturating_sub(MOST_LINES);
    let first = values.next().unwrap_or_else(|| "none".to_owned());
    row(name, &first);
    for value in values.take(MOST_LINES - 1) {
        row("", &value);
    }
    if beyond > 0 {
        row("", &format!("and {beyond} more"));
    }
}

fn next_steps(text: &mut String, uuid: &str, answer: &Answer) {
    let Answer { wipe, setup_bmc, restart, held, message } = answer;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    line("done", "registered; no disk is written to before the plane orders it");
    let mut name = "plane";
    for part in wrapped(message) {
        line(std::mem::take(&mut name), &part);
    }
    if *restart {
        line("ordered", "restart");
        return;
    }
    if *held {
        line("next", "nothing: this machine is held until a person decides, as said above");
        return;
    }
    match wipe {
        Some(Thoroughness::Fast) => line("ordered", "WIPE ALL DISKS, fast: what is on them will be lost"),
        Some(Thoroughness::Full) => {
            line("ordered", "WIPE ALL DISKS, every byte: what is on them will be lost");
        }
        None => {}
    }
    if *setup_bmc {
        line("ordered", "set up the BMC: a user for the plane");
    }
    if wipe.is_some() || *setup_bmc {
        line("next", &format!("follow it:  kubectl describe server {uuid}"));
    } else {
        let _ = writeln!(
            text,
            "  next      accept it, if it was not yet:\n    kubectl patch server {uuid} \\\n      \
             --type merge -p '{{\"spec\":{{\"accepted\":true}}}}'"
        );
    }
}

/// A text in lines that fit beside the names of rows, broken at blanks.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 66;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn labelled(label: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("{label} {value}") }
}

/// What is not empty, separated by blanks.
fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.trim().is_empty()).collect();
    parts.join(" ").trim_end().to_owned()
}
