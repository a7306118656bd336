//! Drivers for the hardware that is there: the kernel names each device's needs in a `modalias` file.
//!
//! It never loads a module twice for the same name, and never follows a link: /sys is full of circles.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Error, Kernel, Modules, Outcome};

/// All devices, as a tree of directories.
const DEVICES: &str = "/sys/devices";
/// Deepest level of the tree that is looked at; real ones have about 20.
const MAX_DEPTH: usize = 64;
/// Most rounds of one run; each finds what the drivers of the one before brought up.
const MAX_ROUNDS: usize = 16;

/// What one run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Modules that were loaded for devices, without their dependencies.
    pub loaded: Vec<String>,
    /// Modules that failed.
    pub failed: Vec<(String, Error)>,
}

/// The names of devices that were seen, so that a run after a new device costs only the new ones.
#[derive(Debug)]
pub struct Coldplug {
    devices: PathBuf,
    seen: HashSet<String>,
}

impl Default for Coldplug {
    fn default() -> Self {
        Self::new(DEVICES)
    }
}

impl Coldplug {
    /// Looks at the tree of devices in `devices`, normally `/sys/devices`.
    pub fn new(devices: impl Into<PathBuf>) -> Self {
        Self { devices: devices.into(), seen: HashSet::new() }
    }

    /// Loads the modules for all devices not seen before, again and again until no new device comes up by itself.
    ///
    /// Devices also come up later (USB, SCSI): run again at each device event.
    pub fn run<K: Kernel>(&mut self, modules: &mut Modules<K>) -> Report {
        let mut report = Report::default();
        for _ in 0..MAX_ROUNDS {
            let fresh = self.fresh();
            if fresh.is_empty() {
                break;
            }
            for modalias in fresh {
                for name in modules.index().matching(&modalias) {
                    match modules.load(&name) {
                        Ok(Outcome::Loaded) => report.loaded.push(name),
                        Ok(Outcome::Present) => {}
                        Err(error) => report.failed.push((name, error)),
                    }
                }
            }
        }
        report
    }

    /// The names not seen before, in their order in the tree.
    fn fresh(&mut self) -> Vec<String> {
        let mut fresh = Vec::new();
        collect(&self.devices, MAX_DEPTH, &mut |modalias| {
            if self.seen.insert(modalias.to_owned()) {
                fresh.push(modalias.to_owned());
            }
        });
        fresh
    }
}

fn collect(directory: &Path, depth: usize, found: &mut dyn FnMut(&str)) {
    // Devices vanish while the tree is walked: what cannot be read is left out.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut below = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => below.push(entry.path()),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                let text = std::fs::read(entry.path()).unwrap_or_default();
                String::from_utf8_lossy(&text)
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .for_each(&mut *found);
            }
            _ => {}
        }
    }
    below.sort();
    if depth > 0 {
        for directory in below {
            collect(&directory, depth - 1, found);
        }
    }
}
