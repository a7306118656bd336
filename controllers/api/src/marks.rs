//! The marks of one machine, from its inventory, its query or its Server.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hardware::HardwareInformation;
use crate::placeholder;
use crate::server::Server;

/// Annotation of a Server with the marks of machines that are not it, but showed its UUID, its card or its serial
/// number: a JSON list of [`Rival`], bounded by [`Rival::MOST`].
pub const RIVAL_ANNOTATION: &str = "bloomery.dev/rival";
/// Annotation of a Server with the system UUIDs of its machine, separated by commas, where they are not its name: after
/// its board was changed (`bloomery servers merge`), or where its UUID is a clone (`bloomery servers split`).
pub const SYSTEM_UUID_ANNOTATION: &str = "bloomery.dev/system-uuid";

/// What a machine is known by. Marks that many machines carry are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// SMBIOS UUIDs in lower case: one of a machine that shows itself, more of a Server whose board was changed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub uuids: BTreeSet<String>,
    /// Serial number in upper case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Hardware addresses in lower case with colons.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cards: BTreeSet<String>,
}

impl Marks {
    /// Cards that are kept of one machine.
    pub const MOST_CARDS: usize = 64;

    /// Of an inventory. `uuid` is the one that the machine gave as its name; the inventory's counts without it.
    pub fn of_hardware(uuid: Option<&str>, hardware: &HardwareInformation) -> Self {
        let system = hardware.system.as_ref();
        let uuid = uuid.or(system.map(|system| system.uuid.as_str()));
        let network = hardware.network.iter().flat_map(|network| &network.interfaces);
        Self {
            uuids: uuid.and_then(placeholder::uuid).into_iter().collect(),
            serial: system.and_then(|system| placeholder::serial(&system.serial_number)),
            cards: network.filter_map(|card| placeholder::card(&card.mac)).take(Self::MOST_CARDS).collect(),
        }
    }

    /// Of a query: what firmware says, and the card that it boots from.
    pub fn of_query(uuid: Option<&str>, mac: Option<&str>, serial: Option<&str>) -> Self {
        Self {
            uuids: uuid.and_then(placeholder::uuid).into_iter().collect(),
            serial: serial.and_then(placeholder::serial),
            cards: mac.and_then(placeholder::card).into_iter().collect(),
        }
    }

    /// Of a Server: its name, the annotation [`SYSTEM_UUID_ANNOTATION`] and its inventory.
    pub fn of_server(server: &Server) -> Self {
        let hardware = server.spec.hardware.as_ref();
        let mut marks = hardware.map(|hardware| Self::of_hardware(None, hardware)).unwrap_or_default();
        let annotations = server.metadata.annotations.as_ref();
        let others = annotations.and_then(|all| all.get(SYSTEM_UUID_ANNOTATION)).map_or("", String::as_str);
        let name = server.metadata.name.as_deref().unwrap_or_default();
        // The name of a Server is its machine's UUID, unless the annotation tells others; the inventory's is a text.
        marks.uuids = others.split(',').chain([name]).filter_map(placeholder::uuid).collect();
        marks
    }

    /// True without any mark.
    pub fn is_empty(&self) -> bool {
        self.uuids.is_empty() && self.serial.is_none() && self.cards.is_empty()
    }
}

/// A machine that showed marks of a Server and is not, or may not be, its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    /// What it showed.
    #[serde(flatten)]
    pub marks: Marks,
}

impl Rival {
    /// Rivals that are kept of one Server.
    pub const MOST: usize = 4;

    /// The annotation's new text once this machine is in it; none if nothing changes: it is there, or the list is full.
    pub fn noted(server: &Server, marks: &Marks) -> Option<String> {
        let mut all = rivals(server);
        if all.len() >= Self::MOST || all.iter().any(|rival| rival.marks == *marks) {
            return None;
        }
        all.push(Self { marks: marks.clone() });
        serde_json::to_string(&all).ok()
    }
}

/// The rivals of a Server that its annotation tells; none if it cannot be read.
pub fn rivals(server: &Server) -> Vec<Rival> {
    let annotations = server.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(RIVAL_ANNOTATION));
    let mut all: Vec<Rival> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    all.truncate(Rival::MOST);
    all
}
