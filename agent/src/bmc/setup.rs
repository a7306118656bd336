//! The dialogue with the BMC: where it is reached, and a user for the plane (spec §5.4).
//!
//! It must never change a user that somebody made: only one called `sidero`, or a free slot.

use std::net::Ipv4Addr;

use super::message::{self, Request};
use super::password::Password;

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

/// A way to ask the BMC.
pub trait Ask {
    /// The data of the answer, after a completion code of zero.
    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Error>;
}

/// Why the BMC is not set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("failed to ask the BMC ({request})")]
    Ask {
        /// What.
        request: &'static str,
        /// The reason.
        #[source]
        source: bloomery_sys::ipmi::Error,
    },
    /// It said no.
    #[error("failed to ask the BMC ({request}): it answers {code:#04x}")]
    Completion {
        /// What.
        request: &'static str,
        /// IPMI 2.0 table 5-2.
        code: u8,
    },
    /// The answer is too short.
    #[error("failed to read the BMC's answer ({request})")]
    Answer {
        /// To what.
        request: &'static str,
    },
    /// Not reachable over the network.
    #[error("failed to find a LAN channel of the BMC with an IPv4 address")]
    NoAddress,
    /// All slots are somebody's.
    #[error("failed to find a slot for the user {USER} in the BMC")]
    NoSlot,
}

impl Error {
    /// Whether the BMC is there, and only this request was not to its liking.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Completion { .. } => true,
            Self::Ask { .. } | Self::Answer { .. } | Self::NoAddress | Self::NoSlot => false,
        }
    }
}

/// Where the BMC is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lan {
    /// Its channel.
    pub channel: u8,
    /// Its address.
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

/// Makes sure that there is an enabled administrator called [`USER`] with this password.
pub fn set_up_user(bmc: &mut impl Ask, channel: u8, password: &Password) -> Result<(), Error> {
    let (user, is_new) = find_slot(bmc, channel)?;
    if is_new {
        bmc.ask(&message::set_user_name(user, USER))?;
    }
    bmc.ask(&message::set_password(user, password.secret()))?;
    bmc.ask(&message::set_user_access(channel, user))?;
    bmc.ask(&message::enable_user(user)).map(drop)
}

/// The user's slot, or the first free one, and whether it is that.
fn find_slot(bmc: &mut impl Ask, channel: u8) -> Result<(u8, bool), Error> {
    let request = message::get_user_access(channel, 1);
    let limit = message::user_limit(&bmc.ask(&request)?).ok_or(Error::Answer { request: request.name })?;
    let mut free = None;
    for user in FIRST_USER..=limit {
        // A slot never used is refused by some BMCs.
        match refusal_is_none(bmc.ask(&message::get_user_name(user)))?
            .and_then(|answer| message::user_name(&answer))
        {
            Some(name) if name == USER => return Ok((user, false)),
            Some(_) => {}
            None => free = free.or(Some(user)),
        }
    }
    free.map(|user| (user, true)).ok_or(Error::NoSlot)
}

#[cfg(test)]
pub(crate) mod tests;
