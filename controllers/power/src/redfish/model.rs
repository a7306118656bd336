//! The Redfish resources that are read, as far as they are read.
//!
//! Pure: bytes in, a type or a typed error out; whatever the JSON is, nothing panics.

use serde_json::Value;

use super::error::ParseError;
use super::{lenient, links};
use crate::bmc::{Action, Power};
use crate::endpoint::Origin;

/// Most members taken of one page of a collection: chassis with more nodes have one BMC each.
const MAX_MEMBERS: usize = 256;
/// Longest message of the BMC that goes into an error.
const MAX_MESSAGE: usize = 200;

/// The path in `value`'s `@odata.id`, which can only lead to the BMC itself.
fn link(value: Option<&Value>, origin: &Origin, property: &'static str) -> Result<String, ParseError> {
    let text = value.and_then(|value| value.get("@odata.id")).and_then(Value::as_str);
    links::path(text.ok_or(ParseError::Missing { property })?, origin, property)
}

/// A resource: JSON that is an object.
fn object(bytes: &[u8]) -> Result<Value, ParseError> {
    let value = lenient::parse(bytes)?;
    if value.is_object() { Ok(value) } else { Err(ParseError::Json { reason: "it is no object".to_owned() }) }
}

/// `/redfish/v1/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoot {
    /// Path of the Systems.
    pub systems: String,
    /// Path of the sessions, where one can log in.
    pub sessions: Option<String>,
}

/// Parses the service root of `origin`.
pub fn parse_service_root(origin: &Origin, bytes: &[u8]) -> Result<ServiceRoot, ParseError> {
    let root = object(bytes)?;
    let sessions = root.get("Links").and_then(|links| links.get("Sessions"));
    let sessions = sessions.map(|sessions| link(Some(sessions), origin, "Links.Sessions"));
    Ok(ServiceRoot {
        systems: link(root.get("Systems"), origin, "Systems")?,
        // One that leads nowhere is not the only place to log in.
        sessions: sessions.and_then(Result::ok),
    })
}

/// A page of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Paths of its members, the first 256.
    pub members: Vec<String>,
    /// Members that are none, or more than are looked at.
    pub unusable: usize,
    /// Members of all pages, if it says so.
    pub count: Option<u64>,
    /// Path of the next page.
    pub next: Option<String>,
}

/// Parses a page of a collection of `origin`.
pub fn parse_collection(origin: &Origin, bytes: &[u8]) -> Result<Collection, ParseError> {
    let page = object(bytes)?;
    let listed =
        page.get("Members").and_then(Value::as_array).ok_or(ParseError::Missing { property: "Members" })?;
    let members: Vec<String> = listed
        .iter()
        .take(MAX_MEMBERS)
        .filter_map(|member| link(Some(member), origin, "Members").ok())
        .collect();
    // DSP0266 has it in the collection, OData also without the name.
    let next = ["Members@odata.nextLink", "@odata.nextLink"].into_iter().find_map(|name| page.get(name));
    let next = match next {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(links::path(text, origin, "Members@odata.nextLink")?),
        Some(other) => Some(link(Some(other), origin, "Members@odata.nextLink")?),
    };
    Ok(Collection {
        unusable: listed.len().saturating_sub(members.len()),
        members,
        count: page.get("Members@odata.count").and_then(Value::as_u64),
        next,
    })
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
                .filter(|kind| allowed.iter().any(|name| name.eq_ignore_ascii_case(kind.as_str())))
                .collect(),
            None => wanted.to_vec(),
        }
    }
}

/// What the BMC says about the next boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// `BootSourceOverrideEnabled`.
    pub enabled: Option<String>,
    /// `BootSourceOverrideTarget`.
    pub target: Option<String>,
}

impl Boot {
    /// The next boot is from the network. Some services never say `Once` although they mean it.
    pub fn is_network(&self) -> bool {
        let says = |field: &Option<String>, word: &str| {
            field.as_deref().is_some_and(|text| text.eq_ignore_ascii_case(word))
        };
        says(&self.target, "Pxe") && (says(&self.enabled, "Once") || says(&self.enabled, "Continuous"))
    }
}

/// A System.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// SMBIOS UUID, as it came.
    pub uuid: Option<String>,
    /// Power.
    pub power: Result<Power, ParseError>,
    /// How to reset it.
    pub reset: Reset,
    /// The override of the next boot.
    pub boot: Boot,
    /// The resource where changes are to be made, if it is another one (DSP0266, "Settings resources").
    pub settings: Option<String>,
}

/// Parses the System at `own_path` of `origin`.
pub fn parse_system(origin: &Origin, own_path: &str, bytes: &[u8]) -> Result<System, ParseError> {
    let system = object(bytes)?;
    let action = system.get("Actions").and_then(|actions| actions.get("#ComputerSystem.Reset"));
    let field = |name| action.and_then(|action| action.get(name));
    let text = |name| field(name).and_then(Value::as_str);
    let target = match text("target") {
        Some(target) => links::path(target, origin, "Actions.#ComputerSystem.Reset.target")?,
        None => format!("{}/Actions/ComputerSystem.Reset", own_path.trim_end_matches('/')),
    };
    let info = text("@Redfish.ActionInfo")
        .map(|path| links::path(path, origin, "@Redfish.ActionInfo"))
        .transpose()?;
    let allowed =
        field("ResetType@Redfish.AllowableValues").and_then(Value::as_array).map(|values| names(values));
    let uuid = match system.get("UUID") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let settings = system.get("@Redfish.Settings").and_then(|settings| settings.get("SettingsObject"));
    let settings = settings.and_then(|object| link(Some(object), origin, "SettingsObject").ok());
    Ok(System {
        uuid,
        power: power(system.get("PowerState")),
        reset: Reset { target, allowed, info },
        boot: boot(&system),
        settings: settings.filter(|path| path != own_path),
    })
}

/// Parses the override of the next boot in a System or its settings.
pub fn parse_boot(bytes: &[u8]) -> Result<Boot, ParseError> {
    object(bytes).map(|resource| boot(&resource))
}

fn boot(resource: &Value) -> Boot {
    let text = |name| {
        let field = resource.get("Boot").and_then(|boot| boot.get(name));
        field.and_then(Value::as_str).map(str::to_owned)
    };
    Boot { enabled: text("BootSourceOverrideEnabled"), target: text("BootSourceOverrideTarget") }
}

/// States that say on or off. "Powering off" is not off yet, and "powering on" will be on.
const POWER_STATES: [(&str, Power); 5] = [
    ("On", Power::On),
    ("PoweringOn", Power::On),
    ("PoweringOff", Power::On),
    ("Paused", Power::On),
    ("Off", Power::Off),
];

fn power(state: Option<&Value>) -> Result<Power, ParseError> {
    let state = match state {
        None | Some(Value::Null) => return Err(ParseError::Missing { property: "PowerState" }),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let known = POWER_STATES.iter().find(|(name, _)| name.eq_ignore_ascii_case(state.trim()));
    known
        .map(|(_, power)| *power)
        .ok_or_else(|| ParseError::PowerState { state: state.chars().take(MAX_MESSAGE).collect() })
}

fn names(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Parses an ActionInfo: the allowed values of `ResetType`.
pub fn parse_action_info(bytes: &[u8]) -> Result<Vec<String>, ParseError> {
    let info = object(bytes)?;
    let parameters = info.get("Parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    parameters
        .iter()
        .find(|parameter| parameter.get("Name").and_then(Value::as_str) == Some("ResetType"))
        .and_then(|parameter| parameter.get("AllowableValues"))
        .and_then(Value::as_array)
        .map(|values| names(values))
        .ok_or(ParseError::Missing { property: "Parameters[ResetType].AllowableValues" })
}

/// The BMC's own words of an error response; empty if there are none.
pub(super) fn error_message(bytes: &[u8]) -> String {
    let body = lenient::parse(bytes).unwrap_or_default();
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
