//! The agent's inventory as the Server's `hardware` (spec/sidero.md §5.2).
//!
//! Lists are as long as they are: the counts a client declares are not believed.

use bloomery_agent_api as pb;
use bloomery_api::hardware;

/// Entries taken of each list; the largest servers have a few hundred disks.
const MAX_ENTRIES: usize = 1024;
/// Octets taken of each text; SMBIOS strings end at 64 by custom.
const MAX_TEXT: usize = 256;
/// Words taken of what one disk holds.
const MAX_WORDS: usize = 32;
/// Octets of such a word.
const MAX_WORD: usize = 32;
/// Octets of an inventory: a machine with a hundred disks has less.
pub const MAX_INVENTORY: usize = 64 << 10;
/// Bytes in the "GB" of the totals.
const GIB: u64 = 1 << 30;
/// MB in the "GB" of the totals.
const MB_PER_GB: u32 = 1024;

/// Translates a whole inventory; `uuid` is the machine's name as it was accepted.
pub fn hardware(sent: &pb::HardwareInformation, uuid: &str) -> hardware::HardwareInformation {
    let pb::HardwareInformation { system, compute, memory, storage, network } = sent;
    hardware::HardwareInformation {
        system: Some(system_information(system.clone().unwrap_or_default(), uuid)),
        compute: compute.as_ref().map(compute_information),
        memory: memory.as_ref().map(memory_information),
        storage: storage.as_ref().map(storage_information),
        network: network.as_ref().map(network_information),
    }
}

fn system_information(sent: pb::SystemInformation, name: &str) -> hardware::SystemInformation {
    let pb::SystemInformation {
        uuid: _,
        manufacturer,
        product_name,
        version,
        serial_number,
        sku_number,
        family,
    } = sent;
    hardware::SystemInformation {
        uuid: name.to_owned(),
        manufacturer: text(&manufacturer),
        product_name: text(&product_name),
        version: text(&version),
        serial_number: text(&serial_number),
        sku_number: text(&sku_number),
        family: text(&family),
    }
}

fn compute_information(sent: &pb::ComputeInformation) -> hardware::ComputeInformation {
    let pb::ComputeInformation { total_core_count, total_thread_count, processor_count: _, processors } =
        sent;
    hardware::ComputeInformation {
        total_core_count: int32(*total_core_count),
        total_thread_count: int32(*total_thread_count),
        processor_count: count(processors),
        processors: list(processors, |processor| hardware::Processor {
            manufacturer: text(&processor.manufacturer),
            product_name: text(&processor.product_name),
            serial_number: text(&processor.serial_number),
            speed: int32(processor.speed),
            core_count: int32(processor.core_count),
            thread_count: int32(processor.thread_count),
        }),
    }
}

fn memory_information(sent: &pb::MemoryInformation) -> hardware::MemoryInformation {
    let pb::MemoryInformation { total_size, module_count: _, modules } = sent;
    hardware::MemoryInformation {
        total_size: format!("{} GB", total_size / MB_PER_GB),
        module_count: count(modules),
        modules: list(modules, |module| hardware::MemoryModule {
            manufacturer: text(&module.manufacturer),
            product_name: text(&module.product_name),
            serial_number: text(&module.serial_number),
            type_: text(&module.r#type),
            size: int32(module.size),
            speed: int32(module.speed),
        }),
    }
}

fn storage_information(sent: &pb::StorageInformation) -> hardware::StorageInformation {
    let pb::StorageInformation { total_size, device_count: _, devices } = sent;
    hardware::StorageInformation {
        total_size: format!("{} GB", total_size / GIB),
        device_count: count(devices),
        devices: list(devices, |device| hardware::StorageDevice {
            type_: pb::StorageType::try_from(device.r#type).unwrap_or_default().as_str_name().to_owned(),
            size: i64::try_from(device.size).unwrap_or(i64::MAX),
            product_name: text(&device.model),
            serial_number: text(&device.serial),
            name: text(&device.name),
            device_name: text(&device.device_name),
            uuid: text(&device.uuid),
            wwid: text(&device.wwid),
            contents: device.contents.as_ref().map(disk_contents),
        }),
    }
}

fn network_information(sent: &pb::NetworkInformation) -> hardware::NetworkInformation {
    let pb::NetworkInformation { interface_count: _, interfaces } = sent;
    hardware::NetworkInformation {
        interface_count: count(interfaces),
        interfaces: list(interfaces, |interface| hardware::NetworkInterface {
            index: int32(interface.index),
            name: text(&interface.name),
            flags: text(&interface.flags),
            mtu: int32(interface.mtu),
            mac: crate::mac::normalize(&interface.mac).unwrap_or_default(),
            addresses: list(&interface.addresses, |address| text(address)),
        }),
    }
}

fn list<T, U>(entries: &[T], translate: impl Fn(&T) -> U) -> Vec<U> {
    entries.iter().take(MAX_ENTRIES).map(translate).collect()
}

fn count<T>(entries: &[T]) -> i32 {
    i32::try_from(entries.len().min(MAX_ENTRIES)).unwrap_or(i32::MAX)
}

/// The API's integers are signed 32 bits; what does not fit is as large as fits.
fn int32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// What was read of a disk; a word too many or too long makes it a disk of which nobody can tell what it holds.
fn disk_contents(sent: &pb::DiskContents) -> hardware::DiskContents {
    let pb::DiskContents { read, found, error } = sent;
    let words: Vec<String> = found.iter().map(|word| text(word)).collect();
    let fits =
        words.len() <= MAX_WORDS && words.iter().all(|word| !word.is_empty() && word.len() <= MAX_WORD);
    let error = match text(error) {
        error if !error.is_empty() => error,
        _ if !read => "not read".to_owned(),
        _ if !fits => "what was found is malformed".to_owned(),
        _ => String::new(),
    };
    hardware::DiskContents { found: if fits { words } else { Vec::new() }, error }
}

/// Octets of an inventory as it is stored.
pub fn size(hardware: &hardware::HardwareInformation) -> usize {
    serde_json::to_vec(hardware).map_or(usize::MAX, |text| text.len())
}

/// Firmware pads its strings with blanks and worse.
pub fn text(sent: &str) -> String {
    let mut clean = String::new();
    for letter in sent.trim().chars().filter(|letter| !letter.is_control()) {
        if clean.len() + letter.len_utf8() > MAX_TEXT {
            break;
        }
        clean.push(letter);
    }
    clean.trim().to_owned()
}
