//! Whether a machine that is given the agent also gets a boot token: a pure function of what is seen of it.
//!
//! The token makes its holder the machine's agent, so who asks from our own network with another card than
//! the one he names, or names a card that the machine does not have, gets none; nor does a client on our own network
//! whose card cannot be told. A machine behind a router cannot be seen: it is believed. It must never keep the agent
//! itself from a machine.

use bloomery_api::Server;

use crate::neighbours::Seen;

/// Why no token is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It has no UUID that is its own.
    #[error("the machine has no UUID of its own")]
    NoIdentity,
    /// Another Server may be its own, or it shows another machine's name.
    #[error("which machine it is, is for a person to decide")]
    Held,
    /// It does not say which card it boots from.
    #[error("the request names no hardware address, but comes from a network of ours")]
    NoAddress,
    /// It is on our network, and nobody can tell with which card.
    #[error("the request comes from a network of ours, and its network card cannot be told")]
    CannotTell,
    /// It is on our network, with another card.
    #[error("the request comes from another network card than the one it names")]
    OtherCard,
    /// The machine of that UUID has no such card.
    #[error("the Server has no network card of that hardware address")]
    UnknownCard,
    /// The machine's agent is at work, and nothing proves that it is the machine that asks.
    #[error("the machine's agent called a moment ago from another address")]
    AgentAlive,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The card that it names, in colon form.
    pub mac: Option<&'a str>,
    /// What is seen of the client.
    pub seen: &'a Seen,
    /// The Server of that machine, if it has one.
    pub server: Option<&'a Server>,
    /// Whether the machine's present agent called a moment ago from another address.
    pub alive_elsewhere: bool,
}

pub fn judge(asked: Asked<'_>) -> Result<(), Withheld> {
    let Asked { mac, seen, server, alive_elsewhere } = asked;
    match (mac, seen) {
        (_, Seen::Unknown) => return Err(Withheld::CannotTell),
        (None, Seen::Card(_)) => return Err(Withheld::NoAddress),
        (Some(mac), Seen::Card(card)) if mac != card => return Err(Withheld::OtherCard),
        (Some(_), Seen::Card(_)) | (_, Seen::Beyond) => {}
    }
    let mut cards = cards(server).peekable();
    let known = cards.peek().is_some();
    let is_its_own = mac.is_some_and(|mac| cards.any(|card| card.eq_ignore_ascii_case(mac)));
    if known && !is_its_own {
        return Err(Withheld::UnknownCard);
    }
    // A card on our own network that is the Server's proves more than an agent that was alive a moment ago.
    let is_proven = is_its_own && seen.card().is_some();
    if alive_elsewhere && !is_proven {
        return Err(Withheld::AgentAlive);
    }
    Ok(())
}

/// Whether a node system may be given: on a network of ours only to a card that the Server has. A machine behind a
/// router cannot be seen: its marks were compared already.
pub fn judge_node(mac: Option<&str>, seen: &Seen, server: Option<&Server>) -> Result<(), Withheld> {
    match seen {
        Seen::Beyond => Ok(()),
        Seen::Card(_) | Seen::Unknown => {
            judge(Asked { mac: mac.or(seen.card()), seen, server, alive_elsewhere: false })
        }
    }
}

fn cards(server: Option<&Server>) -> impl Iterator<Item = &str> {
    let hardware = server.and_then(|server| server.spec.hardware.as_ref());
    let network = hardware.and_then(|hardware| hardware.network.as_ref());
    let interfaces = network.into_iter().flat_map(|network| &network.interfaces);
    interfaces.map(|interface| interface.mac.as_str()).filter(|mac| !mac.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::ServerSpec;
    use bloomery_api::hardware::{HardwareInformation, NetworkInformation, NetworkInterface};

    const OWN: &str = "52:54:00:77:00:01";
    const OTHER: &str = "52:54:00:77:00:02";

    fn server(macs: &[&str]) -> Server {
        let interfaces = macs
            .iter()
            .map(|mac| NetworkInterface { mac: (*mac).to_owned(), ..NetworkInterface::default() })
            .collect();
        let network = Some(NetworkInformation { interfaces, ..NetworkInformation::default() });
        let hardware = Some(HardwareInformation { network, ..HardwareInformation::default() });
        Server::new("u", ServerSpec { hardware, ..ServerSpec::default() })
    }

    #[test]
    fn each_case_has_its_answer() {
        let known = server(&["", OTHER, &OWN.to_uppercase()]);
        let cards_unknown = server(&[]);
        let bare = Server::new("u", ServerSpec::default());
        let (own, other) = (&Seen::Card(OWN.to_owned()), &Seen::Card(OTHER.to_owned()));
        let (beyond, unknown) = (&Seen::Beyond, &Seen::Unknown);
        let cases = [
            // mac, seen, server
            (Some(OWN), own, None, Ok(())),
            (Some(OWN), beyond, None, Ok(())),
            (None, beyond, None, Ok(())),
            (None, own, None, Err(Withheld::NoAddress)),
            (Some(OWN), other, None, Err(Withheld::OtherCard)),
            (Some(OWN), unknown, None, Err(Withheld::CannotTell)),
            (None, unknown, None, Err(Withheld::CannotTell)),
            (Some(OWN), unknown, Some(&known), Err(Withheld::CannotTell)),
            (Some(OWN), own, Some(&known), Ok(())),
            (Some(OWN), beyond, Some(&known), Ok(())),
            (Some("52:54:00:77:00:03"), beyond, Some(&known), Err(Withheld::UnknownCard)),
            (None, beyond, Some(&known), Err(Withheld::UnknownCard)),
            (Some(OWN), other, Some(&known), Err(Withheld::OtherCard)),
            (Some(OWN), beyond, Some(&cards_unknown), Ok(())),
            (Some(OWN), beyond, Some(&bare), Ok(())),
        ];
        for (mac, seen, server, expected) in cases {
            let shown = server.is_some();
            let asked = Asked { mac, seen, server, alive_elsewhere: false };
            assert_eq!(judge(asked), expected, "{mac:?} {seen:?} {shown}");
        }
        // While its agent is alive elsewhere, only the machine's own card on our own network ends that.
        for (seen, server, expected) in [
            (own, Some(&known), Ok(())),
            (beyond, Some(&known), Err(Withheld::AgentAlive)),
            (own, Some(&cards_unknown), Err(Withheld::AgentAlive)),
            (own, None, Err(Withheld::AgentAlive)),
        ] {
            let asked = Asked { mac: Some(OWN), seen, server, alive_elsewhere: true };
            assert_eq!(judge(asked), expected, "{seen:?} {}", server.is_some());
        }
    }
}
