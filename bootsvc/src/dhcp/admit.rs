//! Whether the machine that sent a DHCP request may be served, as far as the request tells.
//!
//! It must never leave an accepted machine without an answer where it is known to be one.

use std::net::{IpAddr, SocketAddrV4};

use bloomery_api::decision::unknown::{Origin, UnknownMachines};

use super::decide::{Admission, Server};
use super::wire::Request;
use crate::machines::Machines;

/// Judges by the lists and the policy. `is_accepted` says of a card and a system UUID whether a Server that a person
/// accepted has them; none if nobody can tell.
pub fn admit(
    machines: &Machines,
    is_accepted: impl FnOnce(Option<&str>, Option<&str>) -> Option<bool>,
    request: &Request<'_>,
    source: SocketAddrV4,
    server: Server<'_>,
) -> Admission {
    let relay = Some(request.giaddr).filter(|relay| !relay.is_unspecified());
    // A machine without an address is on the network of its relay, or on ours.
    let own = Some(*source.ip()).filter(|address| !address.is_unspecified() && relay.is_none());
    let address = request.wanted_address().or(own).or(relay).unwrap_or(server.on);
    let card = request.mac().map(|_| request.hardware_address().to_string());
    let origin = Origin {
        mac: card.as_deref(),
        address: Some(IpAddr::V4(address)),
        relay,
        interface: Some(server.interface),
    };
    let refused = match machines.policy() {
        _ if !machines.lists().admit(&origin) => Admission::Denied,
        UnknownMachines::Ignore => Admission::Ignored,
        UnknownMachines::Agent | UnknownMachines::BootDisk => return Admission::Served,
    };
    // Asked last: it takes longest.
    let uuid = request.machine_uuid().ok().flatten().map(|uuid| uuid.to_string());
    let accepted = is_accepted(card.as_deref(), uuid.as_deref());
    // The lists say no by themselves; whether nobody accepted a machine is to be known first.
    let is_served = accepted.unwrap_or(refused == Admission::Ignored);
    if is_served { Admission::Served } else { refused }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bloomery_api::decision::unknown::MachineLists;

    use super::*;

    const SERVER: Server<'_> = Server {
        interface: "eth1",
        on: Ipv4Addr::new(10, 77, 0, 3),
        address: Ipv4Addr::new(10, 77, 0, 3),
        http_port: 8081,
    };
    const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

    fn discover(relay: Option<[u8; 4]>) -> Vec<u8> {
        let mut datagram = vec![0; 236];
        datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
        datagram[24..28].copy_from_slice(&relay.unwrap_or_default());
        datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
        datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 93, 2, 0, 7, 255]);
        datagram
    }

    fn admitted(machines: &Machines, relay: Option<[u8; 4]>, accepted: Option<&str>) -> Admission {
        let datagram = discover(relay);
        let request = Request::parse(&datagram).unwrap();
        admit(machines, |card, _| accepted.map(|accepted| card == Some(accepted)), &request, NOBODY, SERVER)
    }

    fn with(allow: &str, deny: &str) -> Machines {
        Machines::new(UnknownMachines::Agent, MachineLists::parse(allow, deny).unwrap())
    }

    #[test]
    fn the_lists_hold_for_all_that_a_request_tells() {
        let relay = Some([10, 79, 0, 1]);
        for (allow, deny, relay, expected) in [
            ("", "", None, Admission::Served),
            ("oui:52:54:00", "", None, Admission::Served),
            ("oui:52:54:01", "", None, Admission::Denied),
            ("", "mac:52:54:00:77:00:01", None, Admission::Denied),
            ("subnet:10.77.0.0/24", "", None, Admission::Served),
            ("subnet:10.77.0.0/24", "", relay, Admission::Denied),
            ("subnet:10.79.0.0/24", "", relay, Admission::Served),
            ("relay:10.79.0.1", "", relay, Admission::Served),
            ("relay:10.79.0.1", "", None, Admission::Denied),
            ("interface:eth1", "", None, Admission::Served),
            ("interface:eth2", "", None, Admission::Denied),
            ("interface:eth1", "oui:52:54:00", None, Admission::Denied),
        ] {
            assert_eq!(admitted(&with(allow, deny), relay, None), expected, "{allow} {deny} {relay:?}");
        }
    }

    #[test]
    fn accepted_machines_are_always_served_and_ignored_ones_only_when_it_is_known() {
        let (card, other) = (Some("52:54:00:77:00:01"), Some("52:54:00:77:00:02"));
        let lists = MachineLists::parse("", "oui:00:00:01").unwrap();
        let machines = Machines::new(UnknownMachines::Ignore, lists);
        assert_eq!(admitted(&machines, None, None), Admission::Served, "nobody can tell");
        assert_eq!(admitted(&machines, None, other), Admission::Ignored);
        let denied = with("", "oui:52:54:00");
        assert_eq!(admitted(&denied, None, None), Admission::Denied);
        assert_eq!(admitted(&denied, None, card), Admission::Served);
    }
}
