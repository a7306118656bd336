//! What a registration leads to: pure functions of what the agent says and what is on record.

use bloomery_api::hardware::HardwareInformation;
use bloomery_api::placeholder;
pub use bloomery_api::placeholder::canonical_uuid;
use k8s_openapi::api::core::v1::NodeAddress;

/// Addresses one machine may report; more is a mistake or an attack.
const MAX_ADDRESSES: usize = 256;
/// Characters of an address or its type.
const MAX_ADDRESS_TEXT: usize = 256;

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
    let name = canonical_uuid(uuid.trim()).ok_or_else(|| UuidError::Malformed(shown()))?;
    let digits = || name.bytes().filter(|octet| *octet != b'-');
    if digits().all(|digit| digit == b'0') || digits().all(|digit| digit == b'f') {
        return Err(UuidError::Unset(name));
    }
    if placeholder::uuid(&name).is_none() {
        return Err(UuidError::Placeholder(name));
    }
    Ok(name)
}

/// The host name of a machine; none for the kernel's word for having none, and for what is none.
pub fn hostname(sent: &str) -> Option<String> {
    /// What Linux calls a host that nobody named.
    const UNNAMED: &str = "(none)";
    /// Longest host name (RFC 1035).
    const LONGEST: usize = 253;
    Some(super::wire::text(sent)).filter(|text| text.len() <= LONGEST && !text.is_empty() && text != UNNAMED)
}

/// What is known when a machine that has a Server calls.
// Each is a fact of its own, and the table of the tests names them all.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy)]
pub struct Calling {
    /// Whether the call shows the present boot token; none where it shows none and needs none.
    pub token: Option<bool>,
    pub accepted: bool,
    /// Whether a cluster has the machine or may have it.
    pub claimed: bool,
    /// Whether a card of the call is on record.
    pub shares_card: bool,
    /// Whether cards and serial number of the call are those on record, no more and no less.
    pub same_marks: bool,
    /// Whether no card is on record.
    pub no_cards: bool,
    /// Whether the call may come from a card on record: it is seen to, or comes from behind a router.
    pub may_be_its_card: bool,
}

/// Whether the call may change the inventory, by which tokens are given: only the machine's present agent may, and while
/// nobody accepted it a call with the very same cards and serial number that does not come from another card.
pub fn may_change_inventory(calling: Calling) -> bool {
    let Calling { token, accepted, claimed, shares_card, same_marks, no_cards, may_be_its_card } = calling;
    if claimed {
        return false;
    }
    match token {
        Some(true) => shares_card || no_cards,
        // Of upstream's agents, where they are allowed, the card is all that they can show.
        None => (shares_card && may_be_its_card) || no_cards,
        Some(false) => !accepted && same_marks && may_be_its_card,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inventory_is_the_present_agents_to_change() {
        let call = |token, accepted, claimed, cards: &str| Calling {
            token,
            accepted,
            claimed,
            shares_card: cards != "other" && cards != "none known",
            same_marks: cards == "same",
            no_cards: cards == "none known",
            may_be_its_card: true,
        };
        for (token, accepted, claimed, cards, expected) in [
            (Some(true), true, false, "same", true),
            (Some(true), true, false, "more", true),
            (Some(true), true, false, "none known", true),
            // A token was given by the card, so this is not the machine it was given to.
            (Some(true), true, false, "other", false),
            (Some(true), true, true, "same", false),
            (Some(false), true, false, "same", false),
            (Some(false), false, false, "same", true),
            (Some(false), false, false, "more", false),
            (Some(false), false, false, "other", false),
            (Some(false), false, false, "none known", false),
            (Some(false), false, true, "same", false),
            (None, true, false, "same", true),
            (None, true, false, "other", false),
            (None, true, false, "none known", true),
            (None, false, false, "other", false),
            (None, true, true, "same", false),
        ] {
            let calling = call(token, accepted, claimed, cards);
            assert_eq!(may_change_inventory(calling), expected, "{calling:?}");
            // Who is seen to have another card needs the token, whatever marks he says.
            let stranger = Calling { may_be_its_card: false, ..calling };
            let expected = expected && (token == Some(true) || cards == "none known");
            assert_eq!(may_change_inventory(stranger), expected, "{stranger:?}");
        }
    }

    #[test]
    fn a_host_that_nobody_named_has_no_name() {
        for (sent, name) in [("node1", Some("node1")), ("(none)", None), (" (none) ", None), ("", None)] {
            assert_eq!(hostname(sent).as_deref(), name, "{sent}");
        }
        assert_eq!(hostname(&"a".repeat(254)), None);
    }
}
