//! Server: `hardware` and `strategicPatches` exist only in the newer version.
//!
//! Never drops a part of `hardware` that the older version cannot say, unless that part was edited.

use serde_json::{Value, json};

use super::{CPU_FIELDS, Object, SYSTEM_FIELDS, cpu_of, hardware_of, system_of};

/// Newer to older.
pub(super) fn down(spec: &mut Object) {
    spec.remove("strategicPatches");
    let Some(hardware) = spec.remove("hardware") else { return };
    for (key, value) in [("system", system_of(&hardware)), ("cpu", cpu_of(&hardware))] {
        if let Some(value) = value {
            spec.insert(key.to_owned(), value);
        }
    }
}

/// Older to newer; `restored` is the newer `spec` as it was when the older one was made of it.
pub(super) fn up(spec: &mut Object, restored: Option<&Object>) {
    let system = spec.remove("system");
    let cpu = spec.remove("cpu");
    let hardware = match restored.and_then(|restored| restored.get("hardware")) {
        Some(known) => Some(update(known.clone(), system, cpu.as_ref())),
        None => hardware_of(system, cpu.as_ref()),
    };
    if let Some(hardware) = hardware {
        spec.insert("hardware".to_owned(), hardware);
    }
    if let Some(patches) = restored.and_then(|restored| restored.get("strategicPatches")) {
        spec.insert("strategicPatches".to_owned(), patches.clone());
    }
}

/// Writes what was edited in the older version into the hardware known from the newer one.
fn update(mut hardware: Value, system: Option<Value>, cpu: Option<&Value>) -> Value {
    if system != system_of(&hardware) {
        update_system(&mut hardware, system);
    }
    if cpu != cpu_of(&hardware).as_ref() {
        update_cpu(&mut hardware, cpu);
    }
    hardware
}

fn update_system(hardware: &mut Value, system: Option<Value>) {
    let Some(hardware) = hardware.as_object_mut() else { return };
    let Some(system) = system else {
        hardware.remove("system");
        return;
    };
    match hardware.get_mut("system").and_then(Value::as_object_mut) {
        Some(known) => {
            for key in SYSTEM_FIELDS {
                copy(known, key, system.get(key));
            }
        }
        None => {
            hardware.insert("system".to_owned(), system);
        }
    }
}

/// The older version's one processor speaks for all: taking it away takes all away.
fn update_cpu(hardware: &mut Value, cpu: Option<&Value>) {
    let Some(cpu) = cpu else {
        if let Some(compute) = hardware.get_mut("compute").and_then(Value::as_object_mut) {
            compute.remove("processors");
        }
        return;
    };
    if hardware.pointer("/compute/processors/0").is_none_or(|first| !first.is_object()) {
        if !hardware.get("compute").is_some_and(Value::is_object) {
            hardware["compute"] = json!({});
        }
        hardware["compute"]["processors"] = json!([{}]);
    }
    if let Some(first) = hardware.pointer_mut("/compute/processors/0").and_then(Value::as_object_mut) {
        for (old, new) in CPU_FIELDS {
            copy(first, new, cpu.get(old));
        }
    }
}

fn copy(target: &mut Object, key: &str, value: Option<&Value>) {
    match value {
        Some(value) => {
            target.insert(key.to_owned(), value.clone());
        }
        None => {
            target.remove(key);
        }
    }
}
