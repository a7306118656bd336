//! What a machine is made of, as its agent saw it.
//!
//! Never holds anything a person configures: these fields are written at registration.

use crate::zero::left_out_when_zero;

left_out_when_zero! {
    /// Inventory of a machine. As a qualifier each field that is set must be equal in the machine.
    pub struct HardwareInformation {
        /// SMBIOS type 1.
        pub system: Option<SystemInformation>,
        /// Processors.
        pub compute: Option<ComputeInformation>,
        /// Memory modules.
        pub memory: Option<MemoryInformation>,
        /// Disks.
        pub storage: Option<StorageInformation>,
        /// Network interfaces.
        pub network: Option<NetworkInformation>,
    }

    /// The system as SMBIOS describes it.
    pub struct SystemInformation {
        /// SMBIOS UUID, lower case.
        pub uuid: String,
        /// Manufacturer.
        pub manufacturer: String,
        /// Product name.
        pub product_name: String,
        /// Version.
        pub version: String,
        /// Serial number.
        pub serial_number: String,
        /// Stock keeping unit.
        pub sku_number: String,
        /// Product family.
        pub family: String,
    }

    /// All processors.
    pub struct ComputeInformation {
        /// Sum of the cores of all processors.
        pub total_core_count: i32,
        /// Sum of the hardware threads of all processors.
        pub total_thread_count: i32,
        /// Number of processors.
        pub processor_count: i32,
        /// The processors, in the order of their sockets.
        pub processors: Vec<Processor>,
    }

    /// One processor.
    pub struct Processor {
        /// Manufacturer.
        pub manufacturer: String,
        /// Product name.
        pub product_name: String,
        /// Serial number.
        pub serial_number: String,
        /// Speed in MHz.
        pub speed: i32,
        /// Number of cores.
        pub core_count: i32,
        /// Number of hardware threads.
        pub thread_count: i32,
    }

    /// All memory.
    pub struct MemoryInformation {
        /// Sum of all modules with its unit, such as `32 GB`.
        pub total_size: String,
        /// Number of modules.
        pub module_count: i32,
        /// The modules, in the order of their slots.
        pub modules: Vec<MemoryModule>,
    }

    /// One memory module.
    pub struct MemoryModule {
        /// Manufacturer.
        pub manufacturer: String,
        /// Part number.
        pub product_name: String,
        /// Serial number.
        pub serial_number: String,
        /// Kind of memory, such as `DDR4`.
        #[serde(rename = "type")]
        pub type_: String,
        /// Size in MB.
        pub size: i32,
        /// Speed in MT/s.
        pub speed: i32,
    }

    /// All disks.
    pub struct StorageInformation {
        /// Sum of all disks with its unit, such as `480 GB`.
        pub total_size: String,
        /// Number of disks.
        pub device_count: i32,
        /// The disks.
        pub devices: Vec<StorageDevice>,
    }

    /// One disk.
    pub struct StorageDevice {
        /// Kind of disk, such as `SSD`.
        #[serde(rename = "type")]
        pub type_: String,
        /// Size in bytes.
        pub size: i64,
        /// Model.
        pub product_name: String,
        /// Serial number.
        pub serial_number: String,
        /// Name.
        pub name: String,
        /// Device node, such as `/dev/sda`.
        pub device_name: String,
        /// UUID.
        pub uuid: String,
        /// World wide identifier.
        pub wwid: String,
        /// What it holds, as far as the agent read it; absent when the agent does not look.
        pub contents: Option<DiskContents>,
    }

    /// What a disk holds.
    pub struct DiskContents {
        /// What was found, such as `gpt` or `talos-state`; empty for a disk that is blank.
        pub found: Vec<String>,
        /// Why it could not be read, if that is so.
        pub error: String,
    }

    /// All network interfaces.
    pub struct NetworkInformation {
        /// Number of interfaces.
        pub interface_count: i32,
        /// The interfaces that have a hardware address.
        pub interfaces: Vec<NetworkInterface>,
    }

    /// One network interface.
    pub struct NetworkInterface {
        /// Index the kernel gave it.
        pub index: i32,
        /// Name, such as `eth0`.
        pub name: String,
        /// Flags joined by `|`, such as `up|broadcast|multicast`.
        pub flags: String,
        /// Maximum transmission unit in bytes.
        pub mtu: i32,
        /// Hardware address, lower case with colons.
        pub mac: String,
        /// Addresses with their prefix length.
        pub addresses: Vec<String>,
    }
}
