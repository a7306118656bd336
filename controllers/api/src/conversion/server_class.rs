//! ServerClass: qualifiers by hardware, and `strategicPatches`, exist only in the newer version.
//!
//! The older version wants its processor list and its system list both to match; the newer one takes any
//! entry of its one list. That difference is upstream's and stays.
//! Never merges an edited list with the kept one: their entries have no identity to merge by.

use serde_json::{Value, json};

use super::{Object, cpu_of, hardware_of, system_of};

const SYSTEMS: &str = "systemInformation";
const CPUS: &str = "cpu";
const HARDWARE: &str = "hardware";

/// Newer to older.
pub(super) fn down(spec: &mut Object) {
    spec.remove("strategicPatches");
    let Some(qualifiers) = spec.get_mut("qualifiers").and_then(Value::as_object_mut) else { return };
    let hardware = list(qualifiers.remove(HARDWARE));
    let (systems, cpus) = older(&hardware);
    for (key, entries) in [(SYSTEMS, systems), (CPUS, cpus)] {
        if !entries.is_empty() {
            qualifiers.insert(key.to_owned(), Value::Array(entries));
        }
    }
}

/// Older to newer; `restored` is the newer `spec` as it was when the older one was made of it.
pub(super) fn up(spec: &mut Object, restored: Option<&Object>) {
    if let Some(patches) = restored.and_then(|restored| restored.get("strategicPatches")) {
        spec.insert("strategicPatches".to_owned(), patches.clone());
    }
    let known =
        restored.and_then(|restored| restored.get("qualifiers")).and_then(|q| q.get(HARDWARE)).cloned();
    let qualifiers = spec.get_mut("qualifiers").and_then(Value::as_object_mut);
    let (systems, cpus, exists) = match qualifiers {
        Some(qualifiers) => (list(qualifiers.remove(SYSTEMS)), list(qualifiers.remove(CPUS)), true),
        None => (Vec::new(), Vec::new(), false),
    };
    let known = list(known);
    let hardware = if older(&known) == (systems.clone(), cpus.clone()) {
        known
    } else {
        let systems = systems.into_iter().filter_map(|system| hardware_of(Some(system), None));
        let cpus = cpus.iter().filter_map(|cpu| hardware_of(None, Some(cpu)));
        systems.chain(cpus).collect()
    };
    if hardware.is_empty() {
        return;
    }
    if !exists {
        spec.insert("qualifiers".to_owned(), json!({}));
    }
    if let Some(qualifiers) = spec.get_mut("qualifiers").and_then(Value::as_object_mut) {
        qualifiers.insert(HARDWARE.to_owned(), Value::Array(hardware));
    }
}

/// The older lists of a newer list.
fn older(hardware: &[Value]) -> (Vec<Value>, Vec<Value>) {
    (hardware.iter().filter_map(system_of).collect(), hardware.iter().filter_map(cpu_of).collect())
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}
