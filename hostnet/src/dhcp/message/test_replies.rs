//! Replies as a server makes them, for tests.

use std::net::Ipv4Addr;

use dhcproto::Encodable as _;
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode};
use proptest::prelude::*;

use super::*;

/// What a server says; none leaves the option out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) server: Option<Ipv4Addr>,
    pub(crate) seconds: Option<u32>,
    pub(crate) t1: Option<u32>,
    pub(crate) t2: Option<u32>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::new(10, 0, 0, 100),
            mask: Ipv4Addr::new(255, 255, 255, 0),
            server: Some(Ipv4Addr::new(10, 0, 0, 2)),
            seconds: Some(3600),
            t1: None,
            t2: None,
        }
    }
}

/// A reply's bytes; `kind` is the value of option 53.
pub(crate) fn reply(mac: MacAddr, xid: u32, kind: u8, fields: &Fields) -> Vec<u8> {
    let mut message = Message::default();
    message.set_opcode(Opcode::BootReply).set_xid(xid).set_chaddr(&mac.octets()).set_yiaddr(fields.address);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::from(kind)));
    options.insert(DhcpOption::SubnetMask(fields.mask));
    options.insert(DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 1)]));
    let given = [
        fields.server.map(DhcpOption::ServerIdentifier),
        fields.seconds.map(DhcpOption::AddressLeaseTime),
        fields.t1.map(DhcpOption::Renewal),
        fields.t2.map(DhcpOption::Rebinding),
    ];
    for option in given.into_iter().flatten() {
        options.insert(option);
    }
    message.to_vec().unwrap()
}

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

#[test]
fn what_is_not_a_reply_to_us_is_refused_with_a_reason() {
    let good = reply(MAC, 1, 2, &Fields::default());
    assert_eq!(Reply::read(&good, MAC).unwrap().kind, ReplyKind::Offer);
    let changed = |place: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[place] = value;
        Reply::read(&bytes, MAC).unwrap_err()
    };
    assert!(matches!(changed(0, 1), MessageError::NotForUs { .. }), "a request");
    assert!(matches!(changed(2, 16), MessageError::NotForUs { .. }), "another length");
    assert!(matches!(changed(2, 255), MessageError::NotForUs { .. }), "a length beyond the field");
    assert!(matches!(changed(28, 0xff), MessageError::NotForUs { .. }), "another machine");
    assert!(matches!(changed(236, 0), MessageError::Cookie));
    assert!(matches!(Reply::read(&good[..235], MAC), Err(MessageError::Header(_))));
    assert!(matches!(Reply::read(&good[..240], MAC), Err(MessageError::Kind { kind: None })));
    let inform = reply(MAC, 1, 8, &Fields::default());
    assert!(matches!(Reply::read(&inform, MAC), Err(MessageError::Kind { kind: Some(8) })));
    let nobody = reply(MAC, 1, 6, &Fields { server: None, ..Fields::default() });
    assert!(matches!(Reply::read(&nobody, MAC), Err(MessageError::NoServer)));
}

#[test]
fn an_option_that_dhcproto_asserts_on_is_passed_over() {
    let mut bytes = reply(MAC, 1, 2, &Fields::default());
    bytes.truncate(240);
    bytes.extend_from_slice(&[80, 1, 0, 53, 1, 2, 54, 4, 10, 0, 0, 2, 255]);
    assert_eq!(Reply::read(&bytes, MAC).unwrap().kind, ReplyKind::Offer);
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
        let _ = Reply::read(&bytes, MAC);
    }

    #[test]
    fn never_panics_on_arbitrary_options(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = reply(MAC, 1, 5, &Fields::default());
        bytes.truncate(240);
        bytes.extend_from_slice(&[53, 1, 5, 54, 4, 10, 0, 0, 2, 51, 4, 0, 0, 1, 0]);
        bytes.extend_from_slice(&tail);
        if let Ok(reply) = Reply::read(&bytes, MAC) {
            let _ = crate::dhcp::Lease::from_reply(&reply);
        }
    }
}
