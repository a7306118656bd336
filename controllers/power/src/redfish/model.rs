//! The Redfish resources that are read, as far as they are read.
//!
//! Pure: bytes in, a type or a typed error out; whatever the JSON is, nothing panics.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::bmc::{Action, Power};

/// Longest path taken from a BMC.
const MAX_PATH: usize = 512;
/// Most members of a collection looked at: chassis with more nodes have one BMC each.
const MAX_MEMBERS: usize = 128;
/// Longest message of the BMC that goes into an error.
const MAX_MESSAGE: usize = 200;

/// Why JSON is not the resource it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No JSON, or a property of the wrong type.
    #[error("failed to parse the JSON: {reason}")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// A property is missing.
    #[error("{property} is missing")]
    Missing {
        /// Its name.
        property: &'static str,
    },
    /// A link does not stay on the BMC.
    #[error("{property} is no path on this BMC")]
    Path {
        /// Its name.
        property: &'static str,
    },
    /// The power state is none that says on or off.
    #[error("PowerState is {state:?}")]
    PowerState {
        /// As it came.
        state: String,
    },
}

#[derive(Debug, Default, Deserialize)]
struct Link {
    #[serde(rename = "@odata.id")]
    id: String,
}

/// A path that can only lead to the BMC itself.
fn path(link: Option<Link>, property: &'static str) -> Result<String, ParseError> {
    checked_path(link.ok_or(ParseError::Missing { property })?.id, property)
}

fn checked_path(path: String, property: &'static str) -> Result<String, ParseError> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && path.len() <= MAX_PATH && path.starts_with('/') && !path.starts_with("//") {
        Ok(path)
    } else {
        Err(ParseError::Path { property })
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ParseError> {
    serde_json::from_slice(bytes).map_err(|error| ParseError::Json { reason: error.to_string() })
}

/// `/redfish/v1/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoot {
    /// Path of the Systems.
    pub systems: String,
    /// Path of the sessions, where one can log in.
    pub sessions: Option<String>,
}

/// Parses the service root.
pub fn parse_service_root(bytes: &[u8]) -> Result<ServiceRoot, ParseError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        systems: Option<Link>,
        links: Option<Links>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Links {
        sessions: Option<Link>,
    }
    let Wire { systems, links } = json(bytes)?;
    let sessions = links.and_then(|links| links.sessions).map(|link| path(Some(link), "Links.Sessions"));
    Ok(ServiceRoot { systems: path(systems, "Systems")?, sessions: sessions.transpose()? })
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Paths of its members, the first 128.
    pub members: Vec<String>,
}

/// Parses a collection.
pub fn parse_collection(bytes: &[u8]) -> Result<Collection, ParseError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        members: Option<Vec<Link>>,
    }
    let Wire { members } = json(bytes)?;
    let members = members.ok_or(ParseError::Missing { property: "Members" })?;
    let members = members.into_iter().take(MAX_MEMBERS).map(|link| path(Some(link), "Members"));
    Ok(Collection { members: members.collect::<Result<_, _>>()? })
}

/// A way to reset a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetType {
    /// Power on.
    On,
    /// Power on, though something else is going on.
    ForceOn,
    /// Power off at once.
    ForceOff,
    /// Reset at once.
    ForceRestart,
    /// Power off and on.
    PowerCycle,
}

impl ResetType {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::ForceOn => "ForceOn",
            Self::ForceOff => "ForceOff",
            Self::ForceRestart => "ForceRestart",
            Self::PowerCycle => "PowerCycle",
        }
    }
}

/// The action `#ComputerSystem.Reset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Where to post.
    pub target: String,
    /// What it allows, as it came; none if it does not say.
    pub allowed: Option<Vec<String>>,
    /// Where it says what it allows, if not here.
    pub info: Option<String>,
}

impl Reset {
    /// The resets that do `action`, the best first, of those that are allowed.
    pub fn choices(&self, action: Action) -> Vec<ResetType> {
        let wanted: &[ResetType] = match action {
            Action::On => &[ResetType::On, ResetType::ForceOn],
            Action::Off => &[ResetType::ForceOff],
            Action::Cycle => &[ResetType::ForceRestart, ResetType::PowerCycle],
            Action::PxeOnce(_) => &[],
        };
        match &self.allowed {
            Some(allowed) => wanted
                .iter()
                .copied()
                .filter(|kind| allowed.iter().any(|name| name == kind.as_str()))
                .collect(),
            None => wanted.iter().copied().take(1).collect(),
        }
    }
}

/// A System.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// SMBIOS UUID, lower case.
    pub uuid: Option<String>,
    /// Power.
    pub power: Result<Power, ParseError>,
    /// How to reset it.
    pub reset: Reset,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SystemWire {
    #[serde(rename = "UUID")]
    uuid: Option<String>,
    power_state: Option<String>,
    actions: Option<Map<String, Value>>,
}

/// Parses the System at `own_path`.
pub fn parse_system(own_path: &str, bytes: &[u8]) -> Result<System, ParseError> {
    let SystemWire { uuid, power_state, actions } = json(bytes)?;
    let action = actions.as_ref().and_then(|actions| actions.get("#ComputerSystem.Reset"));
    let field = |name| action.and_then(|action| action.get(name));
    let text = |name| field(name).and_then(Value::as_str).map(str::to_owned);
    let target = match text("target") {
        Some(target) => checked_path(target, "Actions.#ComputerSystem.Reset.target")?,
        None => format!("{}/Actions/ComputerSystem.Reset", own_path.trim_end_matches('/')),
    };
    let info =
        text("@Redfish.ActionInfo").map(|path| checked_path(path, "@Redfish.ActionInfo")).transpose()?;
    let allowed =
        field("ResetType@Redfish.AllowableValues").and_then(Value::as_array).map(|values| names(values));
    Ok(System {
        uuid: uuid.map(|uuid| uuid.to_ascii_lowercase()),
        power: power(power_state.as_deref()),
        reset: Reset { target, allowed, info },
    })
}

/// "Powering off" is not off yet, and "powering on" will be on.
fn power(state: Option<&str>) -> Result<Power, ParseError> {
    match state {
        Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Ok(Power::On),
        Some("Off") => Ok(Power::Off),
        Some(other) => Err(ParseError::PowerState { state: other.chars().take(MAX_MESSAGE).collect() }),
        None => Err(ParseError::Missing { property: "PowerState" }),
    }
}

fn names(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Parses an ActionInfo: the allowed values of `ResetType`.
pub fn parse_action_info(bytes: &[u8]) -> Result<Vec<String>, ParseError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        parameters: Option<Vec<Parameter>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Parameter {
        name: String,
        allowable_values: Option<Vec<String>>,
    }
    let Wire { parameters } = json(bytes)?;
    parameters
        .unwrap_or_default()
        .into_iter()
        .find(|parameter| parameter.name == "ResetType")
        .and_then(|parameter| parameter.allowable_values)
        .ok_or(ParseError::Missing { property: "Parameters[ResetType].AllowableValues" })
}

/// The BMC's own words of an error response; empty if there are none.
pub(super) fn error_message(bytes: &[u8]) -> String {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let error = body.get("error");
    let extended = error
        .and_then(|error| error.get("@Message.ExtendedInfo"))
        .and_then(|info| info.get(0))
        .and_then(|info| info.get("Message"));
    let message = extended.or_else(|| error.and_then(|error| error.get("message"))).and_then(Value::as_str);
    message.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
