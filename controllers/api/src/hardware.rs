//! What a machine is made of, as its agent saw it.
//!
//! Never holds anything a person configures: these fields are written at registration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::zero::is_zero;

/// Inventory of a machine. As a qualifier each field that is set must be equal in the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HardwareInformation {
    /// SMBIOS type 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemInformation>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeInformation>,
    /// Memory modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryInformation>,
    /// Disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageInformation>,
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkInformation>,
}

/// The system as SMBIOS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInformation {
    /// SMBIOS UUID, lower case.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uuid: String,
    /// Manufacturer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub manufacturer: String,
    /// Product name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub product_name: String,
    /// Version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub serial_number: String,
    /// Stock keeping unit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sku_number: String,
    /// Product family.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub family: String,
}

/// All processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeInformation {
    /// Sum of the cores of all processors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total_core_count: i32,
    /// Sum of the hardware threads of all processors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total_thread_count: i32,
    /// Number of processors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub processor_count: i32,
    /// The processors, in the order of their sockets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub processors: Vec<Processor>,
}

/// One processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// Manufacturer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub manufacturer: String,
    /// Product name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub product_name: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub serial_number: String,
    /// Speed in MHz.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub speed: i32,
    /// Number of cores.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub core_count: i32,
    /// Number of hardware threads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub thread_count: i32,
}

/// All memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryInformation {
    /// Sum of all modules with its unit, such as `32 GB`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total_size: String,
    /// Number of modules.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub module_count: i32,
    /// The modules, in the order of their slots.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub modules: Vec<MemoryModule>,
}

/// One memory module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryModule {
    /// Manufacturer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub manufacturer: String,
    /// Part number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub product_name: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub serial_number: String,
    /// Kind of memory, such as `DDR4`.
    #[serde(rename = "type", default, skip_serializing_if = "is_zero")]
    pub type_: String,
    /// Size in MB.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: i32,
    /// Speed in MT/s.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub speed: i32,
}

/// All disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageInformation {
    /// Sum of all disks with its unit, such as `480 GB`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total_size: String,
    /// Number of disks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_count: i32,
    /// The disks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub devices: Vec<StorageDevice>,
}

/// One disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageDevice {
    /// Kind of disk, such as `SSD`.
    #[serde(rename = "type", default, skip_serializing_if = "is_zero")]
    pub type_: String,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: i64,
    /// Model.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub product_name: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub serial_number: String,
    /// Name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub name: String,
    /// Device node, such as `/dev/sda`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_name: String,
    /// UUID.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uuid: String,
    /// World wide identifier.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wwid: String,
    /// What it holds, as far as the agent read it; absent when the agent does not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<DiskContents>,
}

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskContents {
    /// What was found, such as `gpt` or `talos-state`; empty for a disk that is blank.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub found: Vec<String>,
    /// Why it could not be read, if that is so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error: String,
}

/// All network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInformation {
    /// Number of interfaces.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interface_count: i32,
    /// The interfaces that have a hardware address.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interfaces: Vec<NetworkInterface>,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// Index the kernel gave it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: i32,
    /// Name, such as `eth0`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub name: String,
    /// Flags joined by `|`, such as `up|broadcast|multicast`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: String,
    /// Maximum transmission unit in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: i32,
    /// Hardware address, lower case with colons.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mac: String,
    /// Addresses with their prefix length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub addresses: Vec<String>,
}
