//! Whether a machine that is given the agent also gets a boot token: a pure function of what is seen of it.
//!
//! The token makes its holder the machine's agent, so who asks from our own network with another card than
//! the one he names, or names a card that the machine does not have, gets none. A machine behind a router
//! cannot be seen: it is believed. It must never keep the agent itself from a machine.

use bloomery_api::Server;

/// Why no token is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It has no UUID that is its own.
    #[error("the machine has no UUID of its own")]
    NoIdentity,
    /// It does not say which card it boots from.
    #[error("the request names no hardware address, but comes from a network of ours")]
    NoAddress,
    /// It is on our network, with another card.
    #[error("the request comes from another network card than the one it names")]
    OtherCard,
    /// The machine of that UUID has no such card.
    #[error("the Server has no network card of that hardware address")]
    UnknownCard,
}

/// Judges. `mac` is the card that the request names, `neighbour` the one the kernel sees behind the client's
/// address (none: not on a network of ours), both in colon form.
pub fn judge(mac: Option<&str>, neighbour: Option<&str>, server: Option<&Server>) -> Result<(), Withheld> {
    match (mac, neighbour) {
        (None, Some(_)) => return Err(Withheld::NoAddress),
        (Some(mac), Some(seen)) if mac != seen => return Err(Withheld::OtherCard),
        (_, None) | (Some(_), Some(_)) => {}
    }
    let network = server
        .and_then(|server| server.spec.hardware.as_ref())
        .and_then(|hardware| hardware.network.as_ref());
    let mut cards = network
        .iter()
        .flat_map(|network| &network.interfaces)
        .map(|interface| interface.mac.as_str())
        .filter(|mac| !mac.is_empty())
        .peekable();
    if cards.peek().is_some() && !cards.any(|card| Some(card.to_ascii_lowercase().as_str()) == mac) {
        return Err(Withheld::UnknownCard);
    }
    Ok(())
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
        let cases = [
            // mac, neighbour, server
            (Some(OWN), Some(OWN), None, Ok(())),
            (Some(OWN), None, None, Ok(())),
            (None, None, None, Ok(())),
            (None, Some(OWN), None, Err(Withheld::NoAddress)),
            (Some(OWN), Some(OTHER), None, Err(Withheld::OtherCard)),
            (Some(OWN), Some(OWN), Some(&known), Ok(())),
            (Some(OWN), None, Some(&known), Ok(())),
            (Some("52:54:00:77:00:03"), None, Some(&known), Err(Withheld::UnknownCard)),
            (None, None, Some(&known), Err(Withheld::UnknownCard)),
            (Some(OWN), Some(OTHER), Some(&known), Err(Withheld::OtherCard)),
            (Some(OWN), None, Some(&cards_unknown), Ok(())),
            (Some(OWN), None, Some(&bare), Ok(())),
        ];
        for (mac, neighbour, server, expected) in cases {
            let shown = server.is_some();
            assert_eq!(judge(mac, neighbour, server), expected, "{mac:?} {neighbour:?} {shown}");
        }
    }
}
