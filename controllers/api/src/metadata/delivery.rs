//! Which client may have the configuration of a bound machine (promise S5): one function of the objects and of what is
//! seen of the client.
//!
//! ```text
//! boot script ─▶ Given ─▶ first full delivery ─▶ Delivered ─▶ loaded, or ten minutes later ─▶ nothing more
//!     ▲ a new one takes the place of all before     │ the node says that it cannot load it: it may ask again
//!     └─────────────────────────────────────────────┘
//! ```
//!
//! The state is on the binding, so every replica and every later process judges alike. A restore or a takeover raises
//! the epoch and thereby ends what was given before; a move leaves the status behind, and with it all that was given.
//! Never takes the absence of something as leave.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::condition::{self, ConditionStatus};
use crate::decision::{Machine, Standing};
use crate::plane::Authority;
use crate::readiness::{CONFIGURATION_READY, is_said_beforehand};
use crate::server::Server;
use crate::server_binding::{Boot, ServerBinding, TALOS_CONFIG_LOADED};

/// How long a machine may ask after its boot script, or after its configuration was mended: longer than the three hours
/// for which Talos tries.
pub const BOOT_WINDOW: Duration = Duration::from_hours(4);
/// How long it may ask again after it got all of it: the end of a transfer can be lost on the way.
pub const DELIVERY_WINDOW: Duration = Duration::from_mins(10);

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// No token.
    Nothing,
    /// Something that is no token of this plane for this binding in this epoch.
    Forged,
    /// The token of this boot.
    Boot(&'a str),
}

/// What is seen of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight<'a> {
    /// It is on a network of ours, with this card (colon form).
    Card(&'a str),
    /// A router stands between.
    Beyond,
    /// It is on a network of ours, or may be, and its card cannot be told.
    Unknown,
}

/// What is decided by. Server and binding were read for it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The machine's Server.
    pub server: &'a Server,
    /// Its binding.
    pub binding: &'a ServerBinding,
    /// Whether this plane may act.
    pub authority: &'a Authority,
    /// What the client shows.
    pub shown: Shown<'a>,
    /// What is seen of it.
    pub sight: Sight<'a>,
    /// The time.
    pub now: &'a Time,
}

/// Why a client does not get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Another plane acts, or nobody can tell.
    #[error("this plane is not the one that acts on machines")]
    NotActing,
    /// The cluster has let go of the machine.
    #[error("the ServerBinding is being deleted")]
    Leaving,
    /// The disks are another plane's, or the node is there already.
    #[error("the machine is not one that is being installed")]
    NotInstalling,
    /// It shows no token.
    #[error("the client shows no token of a boot script")]
    NoToken,
    /// It shows something that this plane never gave for this machine.
    #[error("the client shows a token that this plane did not give for this machine")]
    Forged,
    /// No boot script was given, as far as is known here.
    #[error("the machine was given no boot script since the plane was restored, moved or taken over")]
    NeverGiven,
    /// A later boot script was given.
    #[error("the client shows the token of an earlier boot")]
    EarlierBoot,
    /// It is on our network, and nobody can tell with which card.
    #[error("the client is on a network of ours, and its network card cannot be told")]
    CannotTell,
    /// It is on our network, with another card.
    #[error("the client has a network card that is not the machine's")]
    OtherCard,
    /// The node has it.
    #[error("the node has loaded its configuration in this boot")]
    Loaded,
    /// It was delivered a while ago.
    #[error("the configuration was delivered in this boot more than ten minutes ago")]
    Delivered,
    /// The boot was too long ago.
    #[error("the boot script was given too long ago")]
    TooLate,
}

impl Refusal {
    /// Every refusal, for tables.
    pub const ALL: [Self; 12] = [
        Self::NotActing,
        Self::Leaving,
        Self::NotInstalling,
        Self::NoToken,
        Self::Forged,
        Self::NeverGiven,
        Self::EarlierBoot,
        Self::CannotTell,
        Self::OtherCard,
        Self::Loaded,
        Self::Delivered,
        Self::TooLate,
    ];

    /// Whether the very same request may be answered a moment later.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::NotActing | Self::CannotTell => true,
            Self::Leaving
            | Self::NotInstalling
            | Self::NoToken
            | Self::Forged
            | Self::NeverGiven
            | Self::EarlierBoot
            | Self::OtherCard
            | Self::Loaded
            | Self::Delivered
            | Self::TooLate => false,
        }
    }
}

/// Decides.
pub fn may_have_configuration(asked: &Asked<'_>) -> Result<(), Refusal> {
    let Asked { server, binding, authority, shown, sight, now } = *asked;
    is_installing(server, binding, authority)?;
    let shown = match shown {
        Shown::Nothing => return Err(Refusal::NoToken),
        Shown::Forged => return Err(Refusal::Forged),
        Shown::Boot(id) => id,
    };
    let boot = binding.status.as_ref().and_then(|status| status.boot.as_ref()).ok_or(Refusal::NeverGiven)?;
    let Some(given_at) = boot.given_at.as_ref().filter(|_| Some(boot.epoch) == authority.epoch()) else {
        return Err(Refusal::NeverGiven);
    };
    if boot.id.is_empty() || shown != boot.id {
        return Err(Refusal::EarlierBoot);
    }
    is_its_card(server, boot, sight)?;
    let node_said = node_said(binding, given_at);
    if node_said == Some(ConditionStatus::True) {
        return Err(Refusal::Loaded);
    }
    let has_failed = node_said == Some(ConditionStatus::False);
    if let Some(delivered_at) = &boot.delivered_at
        && !is_within(delivered_at, now, DELIVERY_WINDOW)
        && !has_failed
    {
        return Err(Refusal::Delivered);
    }
    let begins = [Some(given_at), good_since(binding)].into_iter().flatten().max_by_key(|time| time.0);
    if begins.is_some_and(|begins| is_within(begins, now, BOOT_WINDOW)) {
        Ok(())
    } else {
        Err(Refusal::TooLate)
    }
}

/// Whether a machine is one that waits for its configuration, whoever asks: what counts even where no token is asked for.
pub fn is_installing(server: &Server, binding: &ServerBinding, authority: &Authority) -> Result<(), Refusal> {
    if !authority.acts() {
        return Err(Refusal::NotActing);
    }
    if server.metadata.name.is_none() || server.metadata.name != binding.metadata.name {
        return Err(Refusal::NotInstalling);
    }
    if binding.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Leaving);
    }
    let machine = Machine { server, binding: Some(binding), authority, conflict: None };
    match machine.standing() {
        Standing::Bound => Ok(()),
        Standing::Installed if server.spec.pxe_boot_always => Ok(()),
        Standing::Installed
        | Standing::Unregistered
        | Standing::BoundWithoutServer
        | Standing::Lost
        | Standing::Discovered
        | Standing::Unconfirmed
        | Standing::Dirty
        | Standing::Clean
        | Standing::Conflicted => Err(Refusal::NotInstalling),
    }
}

/// Any card of the machine will do: a node asks with another than its firmware where it has several.
fn is_its_card(server: &Server, boot: &Boot, sight: Sight<'_>) -> Result<(), Refusal> {
    let card = match sight {
        Sight::Beyond => return Ok(()),
        Sight::Unknown => return Err(Refusal::CannotTell),
        Sight::Card(card) => card,
    };
    let mut known = cards(server).peekable();
    let is_its_own = if known.peek().is_some() {
        known.any(|known| known.eq_ignore_ascii_case(card))
    } else {
        !boot.card.is_empty() && boot.card.eq_ignore_ascii_case(card)
    };
    if is_its_own { Ok(()) } else { Err(Refusal::OtherCard) }
}

/// The network cards that a Server has on record.
pub fn cards(server: &Server) -> impl Iterator<Item = &str> {
    let hardware = server.spec.hardware.as_ref();
    let network = hardware.and_then(|hardware| hardware.network.as_ref());
    let interfaces = network.into_iter().flat_map(|network| &network.interfaces);
    interfaces.map(|interface| interface.mac.as_str()).filter(|mac| !mac.is_empty())
}

/// What the node said of its configuration since then. Times on record have no parts of a second.
fn node_said(binding: &ServerBinding, since: &Time) -> Option<ConditionStatus> {
    if is_said_beforehand(binding) {
        return None;
    }
    let loaded = find(binding, TALOS_CONFIG_LOADED)?;
    (loaded.last_transition_time.0.as_second() >= since.0.as_second()).then_some(loaded.status)
}

/// Since when there is a configuration that the machine can use.
fn good_since(binding: &ServerBinding) -> Option<&Time> {
    find(binding, CONFIGURATION_READY)
        .filter(|ready| ready.status == ConditionStatus::True)
        .map(|ready| &ready.last_transition_time)
}

fn find<'a>(binding: &'a ServerBinding, type_: &str) -> Option<&'a condition::Condition> {
    condition::find(binding.status.as_ref().map_or(&[][..], |status| &status.conditions), type_)
}

/// Whether two times are so near, either way: a clock that was put back must not make a token last for ever.
fn is_within(one: &Time, other: &Time, window: Duration) -> bool {
    one.0.duration_since(other.0).unsigned_abs() <= window
}

#[cfg(test)]
mod tests;
