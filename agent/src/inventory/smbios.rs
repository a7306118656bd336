//! System, processors and memory from the firmware's SMBIOS tables (DMTF DSP0134; spec §5.2).
//!
//! It must never panic on what a firmware wrote, and never make up an identity: an all-zero or all-one UUID
//! is none.

use std::path::{Path, PathBuf};

use bloomery_agent_api::{ComputeInformation, MemoryInformation, MemoryModule, Processor, SystemInformation};
use smbioslib::{
    CoreCount, CoreCount2, MemorySize, MemorySizeExtended, MemorySpeed, MemorySpeedExtended, ProcessorSpeed,
    SMBiosData, SMBiosMemoryDevice, SMBiosProcessorInformation, SMBiosString, SMBiosSystemInformation,
    SystemUuidData, ThreadCount, ThreadCount2, UndefinedStruct,
};

mod entry_point;
mod memory_type;

/// Below sysfs: the raw tables.
pub const TABLES: &str = "firmware/dmi/tables";
/// The structure that ends the table (DSP0134 §7.45).
const END_OF_TABLE: u8 = 127;
/// SMBIOS 2.6 set the byte order of the UUID's first three fields (DSP0134 §7.2.1).
const LITTLE_ENDIAN_UUID_SINCE: (u8, u8) = (2, 6);
/// Kilobytes of a megabyte.
const KB_PER_MB: u32 = 1024;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Firmware {
    /// Type 1.
    pub system: SystemInformation,
    /// Type 4, populated sockets.
    pub compute: ComputeInformation,
    /// Type 17, populated slots.
    pub memory: MemoryInformation,
}

/// The tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file, usually: a machine without SMBIOS.
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to recognise the SMBIOS entry point")]
    EntryPoint,
}

/// Reads `smbios_entry_point` and `DMI` in this directory.
pub fn read(directory: &Path) -> Result<Firmware, Error> {
    let file = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(|source| Error::Read { path, source })
    };
    parse(&file("smbios_entry_point")?, file("DMI")?)
}

/// Reads the bytes of an entry point and of a table.
pub fn parse(entry_point: &[u8], table: Vec<u8>) -> Result<Firmware, Error> {
    let version = entry_point::version(entry_point).ok_or(Error::EntryPoint)?;
    let data = SMBiosData::from_vec_and_version(table, None);
    // What lies behind the end marker is not the firmware's word.
    let structures: Vec<&UndefinedStruct> =
        data.iter().take_while(|structure| structure.header.struct_type() != END_OF_TABLE).collect();
    let system = structures.iter().find_map(|it| it.as_type::<SMBiosSystemInformation<'_>>());
    let processors: Vec<Processor> = (structures.iter())
        .filter_map(|it| it.as_type::<SMBiosProcessorInformation<'_>>())
        .filter_map(|it| processor(&it))
        .collect();
    let modules: Vec<MemoryModule> = (structures.iter())
        .filter_map(|it| it.as_type::<SMBiosMemoryDevice<'_>>())
        .filter_map(|it| module(&it))
        .collect();
    Ok(Firmware {
        system: system.map(|it| system_information(&it, version)).unwrap_or_default(),
        compute: ComputeInformation {
            total_core_count: sum(processors.iter().map(|it| it.core_count)),
            total_thread_count: sum(processors.iter().map(|it| it.thread_count)),
            processor_count: count(processors.len()),
            processors,
        },
        memory: MemoryInformation {
            total_size: sum(modules.iter().map(|it| it.size)),
            module_count: count(modules.len()),
            modules,
        },
    })
}

fn sum(values: impl Iterator<Item = u32>) -> u32 {
    values.fold(0, u32::saturating_add)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The version is not sent, as upstream's agent does not (spec §5.2).
fn system_information(system: &SMBiosSystemInformation<'_>, version: (u8, u8)) -> SystemInformation {
    SystemInformation {
        uuid: system.uuid().map(|uuid| uuid_text(&uuid, version)).unwrap_or_default(),
        manufacturer: text(&system.manufacturer()),
        product_name: text(&system.product_name()),
        version: String::new(),
        serial_number: text(&system.serial_number()),
        sku_number: text(&system.sku_number()),
        family: text(&system.family()),
    }
}

/// The UUID as iPXE's `${uuid}` and Linux print it; empty when there is none.
fn uuid_text(uuid: &SystemUuidData, version: (u8, u8)) -> String {
    let mut bytes = match uuid {
        SystemUuidData::IdNotPresent | SystemUuidData::IdNotPresentButSettable => return String::new(),
        SystemUuidData::Uuid(uuid) => uuid.raw,
    };
    if version >= LITTLE_ENDIAN_UUID_SINCE {
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
    }
    let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
    // The groups of RFC 4122 §3.
    [&hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
}

fn processor(processor: &SMBiosProcessorInformation<'_>) -> Option<Processor> {
    if !processor.status().is_some_and(|status| status.socket_populated()) {
        return None;
    }
    let core_count = match processor.core_count() {
        Some(CoreCount::Count(cores)) => cores.into(),
        Some(CoreCount::SeeCoreCount2) => match processor.core_count_2() {
            Some(CoreCount2::Count(cores)) => cores.into(),
            Some(CoreCount2::Unknown | CoreCount2::Reserved) | None => 0,
        },
        Some(CoreCount::Unknown) | None => 0,
    };
    let thread_count = match processor.thread_count() {
        Some(ThreadCount::Count(threads)) => threads.into(),
        Some(ThreadCount::SeeThreadCount2) => match processor.thread_count_2() {
            Some(ThreadCount2::Count(threads)) => threads.into(),
            Some(ThreadCount2::Unknown | ThreadCount2::Reserved) | None => 0,
        },
        Some(ThreadCount::Unknown) | None => 0,
    };
    Some(Processor {
        manufacturer: text(&processor.processor_manufacturer()),
        product_name: text(&processor.processor_version()),
        serial_number: text(&processor.serial_number()),
        speed: match processor.current_speed() {
            Some(ProcessorSpeed::MHz(speed)) => speed.into(),
            Some(ProcessorSpeed::Unknown) | None => 0,
        },
        core_count,
        thread_count,
    })
}

fn module(device: &SMBiosMemoryDevice<'_>) -> Option<MemoryModule> {
    Some(MemoryModule {
        manufacturer: text(&device.manufacturer()),
        product_name: text(&device.part_number()),
        serial_number: text(&device.serial_number()),
        r#type: memory_type::name(device.memory_type().map_or(0, |kind| kind.raw)).to_owned(),
        size: megabytes(device)?,
        speed: match device.speed() {
            Some(MemorySpeed::MTs(speed)) => speed.into(),
            Some(MemorySpeed::SeeExtendedSpeed) => match device.extended_speed() {
                Some(MemorySpeedExtended::MTs(speed)) => speed,
                Some(MemorySpeedExtended::SeeSpeed) | None => 0,
            },
            Some(MemorySpeed::Unknown) | None => 0,
        },
    })
}

/// None for empty slots and unknown sizes. Kilobytes are rounded up, so that a small module does not vanish.
fn megabytes(device: &SMBiosMemoryDevice<'_>) -> Option<u32> {
    match device.size()? {
        MemorySize::NotInstalled | MemorySize::Unknown => None,
        MemorySize::Megabytes(size) => Some(size.into()),
        MemorySize::Kilobytes(size) => Some(u32::from(size).div_ceil(KB_PER_MB)).filter(|size| *size > 0),
        MemorySize::SeeExtendedSize => match device.extended_size() {
            Some(MemorySizeExtended::Megabytes(size)) => Some(size),
            Some(MemorySizeExtended::SeeSize) | None => None,
        },
    }
}

/// Firmware pads strings with blanks; a broken reference or encoding is an empty string.
fn text(string: &SMBiosString) -> String {
    let text: String = string
        .to_utf8_lossy()
        .unwrap_or_default()
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests;
