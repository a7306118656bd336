//! The dialogue with the BMC: where it is reached, and a user for the plane (spec §5.4).
//!
//! It must never change a user that somebody made: only one called `sidero`, or a free slot.

use std::net::Ipv4Addr;

use super::message::{self, Request};
use super::password::{Alphabet, Password};

/// The plane's user.
pub const USER: &str = "sidero";
/// RMCP, where the BMC does not say (some do not know the parameter at all).
const DEFAULT_PORT: u16 = 623;
/// 0 is IPMB, 1 to 15 may be LANs.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=0x0f;
/// Where BMCs that cannot describe their channels have their LAN.
const USUAL_CHANNEL: u8 = 1;
/// User 1 is the anonymous one.
const FIRST_USER: u8 = 2;

/// Passwords that are tried in turn: policies differ in what they ask for, and some refuse what they take the next time.
const PASSWORDS: [Alphabet; 4] = [Alphabet::Plain, Alphabet::Signs, Alphabet::Plain, Alphabet::Signs];

/// A way to ask the BMC.
pub trait Ask {
    /// The data of the answer, after a completion code of zero.
    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Error>;
}

/// Why the BMC is not set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to ask the BMC ({request})")]
    Ask { request: &'static str, source: bloomery_sys::ipmi::Error },
    #[error("failed to ask the BMC ({request}): it answers {code:#04x}")]
    Completion {
        request: &'static str,
        /// IPMI 2.0 table 5-2.
        code: u8,
    },
    #[error("failed to read the BMC's answer ({request})")]
    Answer { request: &'static str },
    #[error("failed to find a LAN channel of the BMC with an IPv4 address")]
    NoAddress,
    /// All slots are somebody's.
    #[error("failed to find a slot for the user {USER} in the BMC")]
    NoSlot,
    #[error("failed to make the user {USER} in the BMC: {reasons}")]
    Refused {
        /// Each slot with what was refused.
        reasons: String,
    },
    #[error("failed to make a password")]
    Random(#[source] std::io::Error),
}

impl Error {
    /// Whether the BMC is there, and only this request was not to its liking.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Completion { .. } => true,
            Self::Ask { .. }
            | Self::Answer { .. }
            | Self::NoAddress
            | Self::NoSlot
            | Self::Refused { .. }
            | Self::Random(_) => false,
        }
    }
}

/// Where the BMC is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lan {
    pub channel: u8,
    pub address: Ipv4Addr,
    /// UDP.
    pub port: u16,
}

/// The first LAN channel that has an address.
pub fn find_lan(bmc: &mut impl Ask) -> Result<Lan, Error> {
    for channel in lan_channels(bmc)? {
        let Some(address) = refusal_is_none(bmc.ask(&message::get_ip_address(channel)))?
            .and_then(|answer| message::ip_address(&answer))
        else {
            continue;
        };
        let port = refusal_is_none(bmc.ask(&message::get_port(channel)))?
            .and_then(|answer| message::port(&answer))
            .unwrap_or(DEFAULT_PORT);
        return Ok(Lan { channel, address, port });
    }
    Err(Error::NoAddress)
}

fn lan_channels(bmc: &mut impl Ask) -> Result<Vec<u8>, Error> {
    let (mut channels, mut described) = (Vec::new(), false);
    for channel in CHANNELS {
        if let Some(answer) = refusal_is_none(bmc.ask(&message::get_channel_info(channel)))? {
            described = true;
            channels.extend(message::is_lan_channel(channel, &answer).then_some(channel));
        }
    }
    Ok(if described { channels } else { vec![USUAL_CHANNEL] })
}

fn refusal_is_none(answer: Result<Vec<u8>, Error>) -> Result<Option<Vec<u8>>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_refusal() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes sure that there is an enabled administrator called [`USER`], and returns its password. Each slot that may be
/// used is tried, and in each one password after another; if none does, the error says what was refused.
pub fn set_up_user(bmc: &mut impl Ask, channel: u8) -> Result<Password, Error> {
    let mut refusals = Vec::new();
    for Slot { user, is_new } in find_slots(bmc, channel)? {
        match set_up_slot(bmc, channel, user, is_new) {
            Ok(password) => return Ok(password),
            Err(error) if error.is_refusal() => refusals.push(format!("slot {user}: {error}")),
            Err(error) => return Err(error),
        }
    }
    if refusals.is_empty() {
        Err(Error::NoSlot)
    } else {
        Err(Error::Refused { reasons: refusals.join("; ") })
    }
}

fn set_up_slot(bmc: &mut impl Ask, channel: u8, user: u8, is_new: bool) -> Result<Password, Error> {
    if is_new {
        bmc.ask(&message::set_user_name(user, USER))?;
    }
    let outcome = fill_slot(bmc, channel, user);
    if is_new && outcome.as_ref().is_err_and(Error::is_refusal) {
        // Free again, or the name would keep every other slot from getting it.
        refusal_is_none(bmc.ask(&message::set_user_name(user, "")))?;
    }
    outcome
}

fn fill_slot(bmc: &mut impl Ask, channel: u8, user: u8) -> Result<Password, Error> {
    let password = set_password(bmc, user)?;
    bmc.ask(&message::set_user_access(channel, user))?;
    if let Err(error) = bmc.ask(&message::enable_user(user)) {
        // Some enable a user with its password, and do not know this request.
        let access = refusal_is_none(bmc.ask(&message::get_user_access(channel, user)))?;
        if !error.is_refusal() || access.is_some_and(|answer| message::is_disabled(&answer)) {
            return Err(error);
        }
    }
    Ok(password)
}

/// Sets the first password that the BMC takes.
fn set_password(bmc: &mut impl Ask, user: u8) -> Result<Password, Error> {
    let mut refused = None;
    for alphabet in PASSWORDS {
        let password = Password::new(alphabet).map_err(Error::Random)?;
        match bmc.ask(&message::set_password(user, password.secret())) {
            Ok(_) => return Ok(password),
            Err(error) if error.is_refusal() => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(Error::NoSlot))
}

/// A user ID that may be the plane's.
struct Slot {
    user: u8,
    /// It has no name yet.
    is_new: bool,
}

/// The plane's own slot if there is one, then the free ones.
fn find_slots(bmc: &mut impl Ask, channel: u8) -> Result<Vec<Slot>, Error> {
    let request = message::get_user_access(channel, 1);
    let limit = message::user_limit(&bmc.ask(&request)?).ok_or(Error::Answer { request: request.name })?;
    let (mut own, mut free) = (Vec::new(), Vec::new());
    for user in FIRST_USER..=limit {
        // A slot never used is refused by some BMCs.
        match refusal_is_none(bmc.ask(&message::get_user_name(user)))?
            .and_then(|answer| message::user_name(&answer))
        {
            Some(name) if name == USER => own.push(Slot { user, is_new: false }),
            Some(_) => {}
            None => free.push(Slot { user, is_new: true }),
        }
    }
    own.extend(free);
    Ok(own)
}

#[cfg(test)]
pub(crate) mod tests;
