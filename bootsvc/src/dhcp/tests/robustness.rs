//! Nothing that arrives can stop the service.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;

use super::super::decide::Listener;
use super::super::wire::{ParseError, Request};
use super::{answer, capture};

fn captured() -> Vec<Vec<u8>> {
    capture::names()
        .iter()
        .flat_map(|name| capture::read(name))
        .map(|datagram| datagram.payload)
        .filter(|payload| payload.len() >= 240)
        .collect()
}

#[test]
fn bad_packets_are_named() {
    assert_eq!(Request::parse(&[]), Err(ParseError::TooShort { len: 0 }));
    assert_eq!(Request::parse(&[1; 239]), Err(ParseError::TooShort { len: 239 }));
    let mut datagram = vec![0; 240];
    assert_eq!(Request::parse(&datagram), Err(ParseError::NotARequest { op: 0 }));
    datagram[0] = 1;
    datagram[2] = 255;
    assert_eq!(Request::parse(&datagram), Err(ParseError::HardwareAddressLength { hlen: 255 }));
    // No magic cookie: BOOTP of 1985, without options, so nothing to answer.
    datagram[2] = 6;
    assert!(Request::parse(&datagram).unwrap().message_type().is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(octets in prop::collection::vec(any::<u8>(), 0..700), port: u16) {
        for listener in [Listener::Dhcp, Listener::Pxe] {
            let _ = answer(&octets, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), listener);
        }
    }

    #[test]
    fn arbitrary_options_never_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut datagram = vec![0; 236];
        datagram[..3].copy_from_slice(&[1, 1, 6]);
        datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 93, 2, 0, 7]);
        datagram.extend_from_slice(&octets);
        let _ = answer(&datagram, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), Listener::Dhcp);
    }

    #[test]
    fn real_packets_cut_and_changed_never_panic(
        which: prop::sample::Index,
        keep: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let all = captured();
        let mut datagram = all[which.index(all.len())].clone();
        for (at, value) in changes {
            let at = at.index(datagram.len());
            datagram[at] = value;
        }
        datagram.truncate(keep.index(datagram.len() + 1));
        for listener in [Listener::Dhcp, Listener::Pxe] {
            let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
            if let Some((answer, _)) = answer(&datagram, source, listener) {
                prop_assert!(answer.0.yiaddr().is_unspecified());
            }
        }
    }
}
