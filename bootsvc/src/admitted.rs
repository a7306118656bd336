//! Whether the lists of machines admit a client that asks over TCP.
//!
//! A relay is not seen there: an entry for one counts for clients from beyond a router whose address begins as the
//! relay's. It must never admit a machine one of whose cards is denied.

use std::net::IpAddr;

use bloomery_api::decision::unknown::{MachineFilter, MachineLists, Origin};

use crate::connection::{Connection, own_addresses};
use crate::neighbours::Seen;

/// Octets that a client's address has in common with its relay's.
const RELAYED_OCTETS: usize = 2;

/// Judges a client with these cards.
pub(crate) fn is_admitted(
    lists: &MachineLists,
    connection: Connection,
    seen: &Seen,
    cards: &[Option<&str>],
) -> bool {
    if lists.allow.is_empty() && lists.deny.is_empty() {
        return true;
    }
    let interface = interface_of(connection.local.ip());
    let address = connection.peer.ip();
    let matches = |filter: &MachineFilter, card: Option<&str>| match filter {
        MachineFilter::Relay(relay) => *seen == Seen::Beyond && is_like(address, (*relay).into()),
        MachineFilter::Mac(_)
        | MachineFilter::Oui(_)
        | MachineFilter::Subnet { .. }
        | MachineFilter::Interface(_) => {
            let origin =
                Origin { mac: card, address: Some(address), relay: None, interface: interface.as_deref() };
            filter.matches(&origin)
        }
    };
    let cards = if cards.is_empty() { &[None] } else { cards };
    let any =
        |list: &[MachineFilter]| cards.iter().any(|card| list.iter().any(|entry| matches(entry, *card)));
    !any(&lists.deny) && (lists.allow.is_empty() || any(&lists.allow))
}

fn is_like(address: IpAddr, relay: IpAddr) -> bool {
    match (address.to_canonical(), relay) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            one.octets()[..RELAYED_OCTETS] == other.octets()[..RELAYED_OCTETS]
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    }
}

/// The interface that has this address of ours.
fn interface_of(local: IpAddr) -> Option<String> {
    own_addresses().find(|(address, _)| *address == local.to_canonical()).map(|(_, interface)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "52:54:00:77:00:01";

    #[test]
    fn lists_are_asked_for_each_card_and_denied_wins() {
        let connection =
            |peer: &str| Connection { peer: peer.parse().unwrap(), local: "127.0.0.1:8081".parse().unwrap() };
        let (here, beyond) = (Seen::Card(CARD.to_owned()), Seen::Beyond);
        for (allow, deny, peer, seen, cards, expected) in [
            ("", "", "10.0.0.5:1", &here, &[Some(CARD)][..], true),
            ("52:54:00", "", "10.0.0.5:1", &here, &[Some(CARD)][..], true),
            ("52:54:01", "", "10.0.0.5:1", &here, &[Some(CARD)][..], false),
            (
                "52:54:00",
                "mac:52:54:00:77:00:02",
                "10.0.0.5:1",
                &here,
                &[Some(CARD), Some("52:54:00:77:00:02")][..],
                false,
            ),
            ("10.0.0.0/24", "", "10.0.0.5:1", &here, &[][..], true),
            ("10.0.0.0/24", "", "[fd00::1]:1", &here, &[Some(CARD)][..], false),
            ("relay:10.9.0.1", "", "10.9.3.5:1", &beyond, &[Some(CARD)][..], true),
            ("relay:10.9.0.1", "", "10.9.3.5:1", &here, &[Some(CARD)][..], false),
            ("relay:10.9.0.1", "", "10.8.3.5:1", &beyond, &[Some(CARD)][..], false),
            ("interface:lo", "", "10.0.0.5:1", &here, &[None][..], true),
            ("interface:eth9", "", "10.0.0.5:1", &here, &[None][..], false),
            ("", "interface:lo", "10.0.0.5:1", &here, &[None][..], false),
        ] {
            let lists = MachineLists::parse(allow, deny).unwrap();
            assert_eq!(is_admitted(&lists, connection(peer), seen, cards), expected, "{allow} {deny} {peer}");
        }
    }
}
