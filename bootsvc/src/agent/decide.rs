//! What a registration leads to: pure functions of what the agent says and what is on record.

use bloomery_api::hardware::HardwareInformation;
use k8s_openapi::api::core::v1::NodeAddress;

use crate::http::query;

/// Addresses one machine may report; more is a mistake or an attack.
const MAX_ADDRESSES: usize = 256;
/// Characters of an address or its type.
const MAX_ADDRESS_TEXT: usize = 256;

/// UUIDs that firmware carries when nobody gave the machine one. Many machines have the same, so
/// they name none (spec/sidero.md §11 number 10).
const PLACEHOLDERS: [&str; 5] = [
    // American Megatrends' default, as stored and with its first fields swapped.
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    // Counting, in sample firmware.
    "00112233-4455-6677-8899-aabbccddeeff",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    // Dell's form around an empty service tag.
    "4c4c4544-0000-2010-8020-80c04f202020",
];

/// Why a machine's UUID is not taken as its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    /// Not the 8-4-4-4-12 form.
    #[error("system UUID {0:?} is malformed")]
    Malformed(String),
    /// All zeros or all ones.
    #[error("system UUID {0} means that the machine has none; set one in its firmware (SMBIOS type 1)")]
    Unset(String),
    /// A vendor's placeholder.
    #[error(
        "system UUID {0} is a placeholder that many machines share; set one in its firmware (SMBIOS type 1)"
    )]
    Placeholder(String),
}

/// The Server name for a machine: its UUID in lower case.
pub fn server_name(uuid: &str) -> Result<String, UuidError> {
    // Control characters have no place in logs and answers.
    let shown = || super::wire::text(uuid);
    let name = query::uuid(uuid.trim()).ok_or_else(|| UuidError::Malformed(shown()))?;
    let digits = || name.bytes().filter(|octet| *octet != b'-');
    if digits().all(|digit| digit == b'0') || digits().all(|digit| digit == b'f') {
        return Err(UuidError::Unset(name));
    }
    if PLACEHOLDERS.contains(&name.as_str()) {
        return Err(UuidError::Placeholder(name));
    }
    Ok(name)
}

/// Whether the machine on record and the one that registers are surely two: different serial
/// numbers, and no network card in common. One of the two changes when parts are replaced.
pub fn are_different_machines(known: &HardwareInformation, new: &HardwareInformation) -> bool {
    let serial = |hardware: &HardwareInformation| {
        hardware
            .system
            .as_ref()
            .map(|system| system.serial_number.clone())
            .filter(|serial| !serial.is_empty())
    };
    let macs = |hardware: &HardwareInformation| -> Vec<String> {
        let interfaces = hardware.network.as_ref().map_or(&[][..], |network| &network.interfaces);
        interfaces.iter().map(|interface| interface.mac.clone()).filter(|mac| !mac.is_empty()).collect()
    };
    let (known_macs, new_macs) = (macs(known), macs(new));
    let other_serial = matches!((serial(known), serial(new)), (Some(known), Some(new)) if known != new);
    let no_common_card = !known_macs.is_empty()
        && !new_macs.is_empty()
        && !known_macs.iter().any(|mac| new_macs.contains(mac));
    other_serial && no_common_card
}

/// Disks on record that the machine does not show any more, in words: known by world-wide name, else by serial number.
/// What was on them was not wiped, should they come back.
pub fn missing_disks(known: &HardwareInformation, new: &HardwareInformation) -> Vec<String> {
    let disks =
        |hardware: &HardwareInformation| hardware.storage.clone().map_or_else(Vec::new, |it| it.devices);
    let shown = disks(new);
    let gone = disks(known).into_iter().filter(|disk| {
        let has_name = !(disk.wwid.is_empty() && disk.serial_number.is_empty());
        has_name
            && !shown.iter().any(|other| {
                if disk.wwid.is_empty() {
                    other.serial_number == disk.serial_number
                } else {
                    other.wwid == disk.wwid
                }
            })
    });
    gone.map(|disk| format!("{} ({}, serial {})", disk.device_name, disk.product_name, disk.serial_number))
        .collect()
}

/// A reported address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// More than a machine has.
    #[error("{0} addresses are more than a machine can have")]
    TooMany(usize),
    /// Empty or overlong type or address.
    #[error("address {0:?} is malformed")]
    Malformed(String),
}

/// The new list of addresses: those of every type that is reported are replaced, other types stay.
/// None if that changes nothing.
pub fn addresses(
    known: &[NodeAddress],
    reported: &[bloomery_agent_api::Address],
) -> Result<Option<Vec<NodeAddress>>, AddressError> {
    if reported.len() > MAX_ADDRESSES {
        return Err(AddressError::TooMany(reported.len()));
    }
    let mut merged: Vec<NodeAddress> = known
        .iter()
        .filter(|address| !reported.iter().any(|new| new.r#type == address.type_))
        .cloned()
        .collect();
    for new in reported {
        for field in [&new.r#type, &new.address] {
            if field.is_empty() || field.len() > MAX_ADDRESS_TEXT || field.chars().any(char::is_control) {
                return Err(AddressError::Malformed(super::wire::text(&new.address)));
            }
        }
        let address = NodeAddress { type_: new.r#type.clone(), address: new.address.clone() };
        if !merged.contains(&address) {
            merged.push(address);
        }
    }
    Ok((!same_set(known, &merged)).then_some(merged))
}

fn same_set(one: &[NodeAddress], other: &[NodeAddress]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}
