//! Who is on the wire: the hardware address behind an IPv4 address, as the kernel's neighbour table has it.
//!
//! It must never guess: an address that is not there, or whose answer is still awaited, is unknown; and what
//! comes from a router's card was sent on by it (a router that answers for others, or hides them behind its
//! own address), so that the card says nothing of the machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::mac;

/// Where Linux shows its IPv4 neighbours and routes.
const DIRECTORY: &str = "/proc/net";
/// Flag of an entry that has been answered (`ATF_COM`).
const COMPLETE: u32 = 0x02;

/// The neighbour table.
#[derive(Debug, Clone)]
pub struct Neighbours(PathBuf);

impl Default for Neighbours {
    fn default() -> Self {
        Self(PathBuf::from(DIRECTORY))
    }
}

impl Neighbours {
    /// The tables `arp` and `route` of another directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The hardware address of the host with this address, if it is on a network of ours. A machine behind a
    /// router is unknown, as is one that speaks IPv6.
    pub fn hardware_address(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        let arp = std::fs::read_to_string(self.0.join("arp")).ok()?;
        let seen = find(&arp, address)?;
        let routes = std::fs::read_to_string(self.0.join("route")).unwrap_or_default();
        let by_router = routers(&routes).any(|router| find(&arp, router).as_ref() == Some(&seen));
        (!by_router).then_some(seen)
    }
}

fn find(table: &str, address: Ipv4Addr) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (ip, _type, flags, hardware) =
            (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let matches = ip.parse() == Ok(address) && flags & COMPLETE != 0;
        matches.then(|| mac::normalize(hardware)).flatten()
    })
}

/// The routers of the routing table. The kernel prints the octets of an address as one number of its own order.
fn routers(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    table.lines().skip(1).filter_map(|line| {
        let gateway = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        (gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
10.77.0.50       0x1         0x2         52:54:00:77:00:01     *        eth0
10.77.0.51       0x1         0x0         00:00:00:00:00:00     *        eth0
10.77.0.52       0x1         0x6         52:54:00:77:00:02     *        eth0
10.77.0.5        0x1         0x2         short                 *        eth0
";

    #[test]
    fn finds_neighbours_that_answered() {
        let of = |last| find(TABLE, Ipv4Addr::new(10, 77, 0, last));
        assert_eq!(of(50).as_deref(), Some("52:54:00:77:00:01"));
        assert_eq!(of(52).as_deref(), Some("52:54:00:77:00:02"));
        assert_eq!((of(51), of(5), of(1)), (None, None, None));
    }

    #[test]
    fn nothing_is_known_without_a_table_or_of_other_networks() {
        let none = Neighbours::at("/nonexistent".into());
        assert_eq!(none.hardware_address([10, 77, 0, 50].into()), None);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("arp"), TABLE).unwrap();
        let table = Neighbours::at(directory.path().to_owned());
        assert!(table.hardware_address("::ffff:10.77.0.50".parse().unwrap()).is_some());
        assert!(table.hardware_address("fd00::1".parse().unwrap()).is_none());
    }

    #[test]
    fn what_a_router_sends_on_says_nothing_of_the_machine() {
        let directory = tempfile::tempdir().unwrap();
        // The router 10.77.0.1 also answers for 10.77.0.60.
        let arp = format!(
            "{TABLE}10.77.0.1 0x1 0x2 52:54:00:aa:00:01 * eth0\n10.77.0.60 0x1 0x2 52:54:00:aa:00:01 * eth0\n"
        );
        std::fs::write(directory.path().join("arp"), arp).unwrap();
        let gateway = u32::from_ne_bytes([10, 77, 0, 1]);
        let routes = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{gateway:08X}\t0003\neth0\t00004D0A\t00000000\t0001\n"
        );
        std::fs::write(directory.path().join("route"), routes).unwrap();
        let table = Neighbours::at(directory.path().to_owned());
        let of = |last| table.hardware_address([10, 77, 0, last].into());
        assert_eq!((of(1), of(60)), (None, None));
        assert_eq!(of(50).as_deref(), Some("52:54:00:77:00:01"));
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics(table in "(.{0,20}[ \n]){0,20}") {
            let _ = find(&table, Ipv4Addr::LOCALHOST);
            let _ = routers(&table).count();
        }
    }
}
