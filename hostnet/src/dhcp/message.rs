//! DHCP messages on the wire: requests built with dhcproto, replies read tolerantly.
//!
//! It must never accept a message that is not a reply to this host, and never panic on any bytes.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _};

use super::options::{Options, codes, is_host};
use crate::MacAddr;

/// Relays may drop shorter ones (RFC 1542 §2.1).
const MIN_LENGTH: usize = 300;
/// Offsets of the fixed fields (RFC 2131 §2).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const COOKIE: std::ops::Range<usize> = 236..240;
const OPTIONS: usize = 240;
/// RFC 2131 §3.
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Hardware type Ethernet, also the first octet of the client identifier (RFC 2132 §9.14).
const ETHERNET: u8 = 1;
/// Longest message we take, so that servers need not move options into `file` and `sname`.
pub(super) const MAX_MESSAGE: u16 = 1472;
/// What we ask for (RFC 2132 §9.8). Classless routes stand before routers, as RFC 3442 wants.
const WANTED: [OptionCode; 11] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::Hostname,
    OptionCode::DomainName,
    OptionCode::InterfaceMtu,
    OptionCode::NtpServers,
    OptionCode::AddressLeaseTime,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// The fields of a request beside the client's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) kind: MessageType,
    pub(super) mac: MacAddr,
    pub(super) hostname: Option<&'a str>,
    pub(super) xid: u32,
    pub(super) secs: u16,
    /// Own address, only when the kernel has it (RENEWING, REBINDING).
    pub(super) ciaddr: Ipv4Addr,
    /// Option 50, only in REQUESTING.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 54, only in REQUESTING.
    pub(super) server: Option<Ipv4Addr>,
}

/// The request's bytes (RFC 2131 §4.4.1, table 5).
pub(super) fn encode(request: &Request<'_>) -> Result<Vec<u8>, MessageError> {
    let mac = request.mac.octets();
    let mut message = Message::default();
    let flags = if request.ciaddr.is_unspecified() {
        // The kernel drops unicast to an address that it does not have yet.
        Flags::default().set_broadcast()
    } else {
        Flags::default()
    };
    message.set_xid(request.xid).set_secs(request.secs).set_flags(flags);
    message.set_ciaddr(request.ciaddr).set_chaddr(&mac);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(request.kind));
    options.insert(DhcpOption::ClientIdentifier([&[ETHERNET], mac.as_slice()].concat()));
    options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
    options.insert(DhcpOption::MaxMessageSize(MAX_MESSAGE));
    if let Some(hostname) = request.hostname {
        options.insert(DhcpOption::Hostname(hostname.to_owned()));
    }
    if let Some(address) = request.requested {
        options.insert(DhcpOption::RequestedIpAddress(address));
    }
    if let Some(server) = request.server {
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    let mut bytes = message.to_vec().map_err(MessageError::Encode)?;
    bytes.resize(bytes.len().max(MIN_LENGTH), 0);
    Ok(bytes)
}

/// The kinds of reply that a client acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
}

/// A reply to this host, not yet judged as a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Offer, ack or nak.
    pub kind: ReplyKind,
    /// Transaction.
    pub xid: u32,
    /// "Your address".
    pub yiaddr: Ipv4Addr,
    /// Which server (option 54). A reply without it is not a reply.
    pub server: Ipv4Addr,
    /// The server's words (option 56), if it said why.
    pub words: Option<String>,
    pub(super) options: Options,
}

/// Why bytes are not a reply to us, or a request could not be built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MessageError {
    #[error("failed to encode a DHCP message")]
    Encode(#[source] dhcproto::error::EncodeError),
    #[error("failed to read the fixed fields of a DHCP message")]
    Header(#[source] dhcproto::error::DecodeError),
    /// No magic cookie: plain BOOTP or noise.
    #[error("failed to find the DHCP magic cookie")]
    Cookie,
    /// A request, or for another machine.
    #[error("failed to accept a DHCP message that is not a reply to {mac}")]
    NotForUs { mac: MacAddr },
    /// Not an offer, ack or nak.
    #[error("failed to accept a DHCP message of type {kind:?}")]
    Kind {
        /// Option 53 as received.
        kind: Option<u8>,
    },
    /// RFC 2131 table 3: every reply has a server identifier.
    #[error("failed to find the server identifier in a DHCP message")]
    NoServer,
}

impl Reply {
    /// Reads a reply to `mac`.
    pub fn read(bytes: &[u8], mac: MacAddr) -> Result<Self, MessageError> {
        // Only the fixed fields: dhcproto 0.15 asserts on some malformed options (80 with a length) and would panic.
        let fixed = bytes.get(..OPTIONS).unwrap_or(bytes);
        let message = Message::decode(&mut Decoder::new(fixed)).map_err(MessageError::Header)?;
        if bytes.get(COOKIE) != Some(MAGIC.as_slice()) {
            return Err(MessageError::Cookie);
        }
        let ours = message.opcode() == dhcproto::v4::Opcode::BootReply
            && usize::from(message.hlen()) == mac.octets().len()
            && message.chaddr() == mac.octets();
        if !ours {
            return Err(MessageError::NotForUs { mac });
        }
        let field = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
        let options = Options::read(bytes.get(OPTIONS..).unwrap_or_default(), field(FILE), field(SNAME));
        let kind = options.byte(codes::MESSAGE_TYPE);
        let kind = match kind.map(MessageType::from) {
            Some(MessageType::Offer) => ReplyKind::Offer,
            Some(MessageType::Ack) => ReplyKind::Ack,
            Some(MessageType::Nak) => ReplyKind::Nak,
            _ => return Err(MessageError::Kind { kind }),
        };
        let server = options.address(codes::SERVER).filter(|server| is_host(*server));
        Ok(Self {
            kind,
            xid: message.xid(),
            yiaddr: message.yiaddr(),
            server: server.ok_or(MessageError::NoServer)?,
            words: options.text(codes::MESSAGE).map(|text| text.escape_debug().to_string()),
            options,
        })
    }
}

#[cfg(test)]
#[path = "message/test_replies.rs"]
pub(super) mod test_replies;
