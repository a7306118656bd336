//! DHCP messages as this service sees them: raw options in, one reply out (RFC 2131, 2132, 4578).
//!
//! Option values are kept as bytes on purpose: an option that we do not use must never make a
//! request unreadable, and one that we echo must come back bit by bit.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

use dhcproto::v4::{self, DhcpOption, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};

/// Smallest datagram some BOOTP relays and firmware accept (RFC 1542 section 2.1: 300 octets).
const MIN_REPLY_LEN: usize = 300;
/// Size of the `chaddr` field; a longer `hlen` is a broken or hostile packet.
const CHADDR_LEN: usize = 16;
/// Size of the `file` field, its terminating NUL included.
const FILE_FIELD_LEN: usize = 128;
/// Option 97 is one type octet and a 16-octet GUID (RFC 4578 section 2.3).
const MACHINE_ID_LEN: usize = 17;

/// Option numbers used here (RFC 2132, 3004, 3046, 4578).
pub mod option {
    /// Vendor-specific information; for PXE clients the PXE sub-options.
    pub const VENDOR_SPECIFIC: u8 = 43;
    /// DHCP message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER_ID: u8 = 54;
    /// Vendor class identifier.
    pub const VENDOR_CLASS: u8 = 60;
    /// Client identifier.
    pub const CLIENT_ID: u8 = 61;
    /// TFTP server name.
    pub const TFTP_SERVER: u8 = 66;
    /// Boot file name.
    pub const BOOT_FILE: u8 = 67;
    /// User class.
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information.
    pub const RELAY_INFO: u8 = 82;
    /// Client system architecture.
    pub const ARCHITECTURE: u8 = 93;
    /// Client machine identifier (GUID).
    pub const MACHINE_ID: u8 = 97;
}

/// Why a datagram is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than the fixed header and the magic cookie (240 octets).
    #[error("failed to parse a DHCP message of {len} octets: too short")]
    TooShort {
        /// Octets received.
        len: usize,
    },
    /// Not a BOOTREQUEST; answers of other servers are seen on broadcast too.
    #[error("failed to accept a DHCP message with op {op}: not a request")]
    NotARequest {
        /// The `op` field.
        op: u8,
    },
    /// `hlen` is larger than the `chaddr` field.
    #[error("failed to parse a DHCP message: hardware address of {hlen} octets")]
    HardwareAddressLength {
        /// The `hlen` field.
        hlen: u8,
    },
}

/// A client's request; only the fields that the answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Hardware type, 1 for Ethernet.
    pub htype: u8,
    /// Length of the hardware address, at most 16.
    pub hlen: u8,
    /// Transaction id.
    pub xid: u32,
    /// Flags as sent; bit 15 is "broadcast".
    pub flags: u16,
    /// Address of the relay agent, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The whole `chaddr` field.
    pub chaddr: [u8; CHADDR_LEN],
    options: BTreeMap<u8, Vec<u8>>,
}

/// Option 97 is present and is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMachineId;

impl Request {
    /// Reads one datagram. Options that are cut short end the list; they are not an error, as
    /// firmware is known to pad carelessly.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let Ok(message) = v4::borrowed::Message::new(datagram) else {
            return Err(ParseError::TooShort { len: datagram.len() });
        };
        let op = u8::from(message.opcode());
        if message.opcode() != v4::Opcode::BootRequest {
            return Err(ParseError::NotARequest { op });
        }
        let hlen = message.hlen();
        if usize::from(hlen) > CHADDR_LEN {
            return Err(ParseError::HardwareAddressLength { hlen });
        }
        let mut chaddr = [0; CHADDR_LEN];
        // The field follows the 28 octets of fixed header; `new` checked the length.
        chaddr.copy_from_slice(&datagram[28..28 + CHADDR_LEN]);
        let mut options: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for part in message.opts() {
            // Parts of one option may stand apart; they belong together (RFC 3396 section 5).
            options.entry(part.code().into()).or_default().extend_from_slice(part.data());
        }
        Ok(Self {
            htype: u8::from(message.htype()),
            hlen,
            xid: message.xid(),
            flags: u16::from(message.flags()),
            giaddr: message.giaddr(),
            chaddr,
            options,
        })
    }

    /// An option's value, all its parts joined.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// Option 53.
    pub fn message_type(&self) -> Option<v4::MessageType> {
        match self.option(option::MESSAGE_TYPE)? {
            [kind] => Some(v4::MessageType::from(*kind)),
            _ => None,
        }
    }

    /// Option 93 as the list of 16-bit values that RFC 4578 section 2.1 makes it.
    pub fn architectures(&self) -> Option<Vec<u16>> {
        let value = self.option(option::ARCHITECTURE)?;
        Some(value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    /// Whether option 60 begins with `prefix`.
    pub fn vendor_class_starts_with(&self, prefix: &str) -> bool {
        self.option(option::VENDOR_CLASS).is_some_and(|class| class.starts_with(prefix.as_bytes()))
    }

    /// Option 77: the list of RFC 3004, or the one raw string that iPXE sends.
    pub fn user_classes(&self) -> Vec<&[u8]> {
        let Some(value) = self.option(option::USER_CLASS) else { return Vec::new() };
        let mut classes = Vec::new();
        let mut rest = value;
        while let Some((&len, tail)) = rest.split_first() {
            let Some((class, next)) = tail.split_at_checked(usize::from(len)) else { return vec![value] };
            classes.push(class);
            rest = next;
        }
        classes
    }

    /// Option 97 in the text form of SMBIOS (first three fields little-endian), for logs.
    pub fn machine_uuid(&self) -> Result<Option<String>, BadMachineId> {
        let Some(id) = self.option(option::MACHINE_ID) else { return Ok(None) };
        match id {
            [0, guid @ ..] if id.len() == MACHINE_ID_LEN => Ok(Some(guid_text(guid))),
            _ => Err(BadMachineId),
        }
    }

    /// The hardware address in colon form; empty when the client sent none.
    pub fn hardware_address(&self) -> HardwareAddress<'_> {
        HardwareAddress(&self.chaddr[..usize::from(self.hlen).min(CHADDR_LEN)])
    }
}

/// Writes the 16 octets of a PXE GUID the way SMBIOS 2.6 and iPXE's `${uuid}` do.
fn guid_text(guid: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (position, index) in ORDER.into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        if let Some(octet) = guid.get(index) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{octet:02x}");
        }
    }
    text
}

/// Prints a hardware address as `aa:bb:…`.
#[derive(Debug, Clone, Copy)]
pub struct HardwareAddress<'a>(&'a [u8]);

impl fmt::Display for HardwareAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

/// What is said to a client; the fields not listed here are zero or copied from the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// OFFER on port 67, ACK on port 4011.
    pub message_type: v4::MessageType,
    /// `siaddr` and option 54.
    pub server: Ipv4Addr,
    /// Option 67, and the `file` field where it fits.
    pub boot_file: String,
    /// Whether option 66 names the server; only for files fetched by TFTP.
    pub tftp_server: bool,
    /// Option 43, PXE clients only.
    pub vendor_specific: Option<Vec<u8>>,
    /// Option 60.
    pub vendor_class: Vec<u8>,
    /// Options 61, 82 and 97 as the client or its relay sent them.
    pub echoed: Vec<(u8, Vec<u8>)>,
}

/// A reply that cannot be written; no input is known to lead here.
#[derive(Debug, thiserror::Error)]
#[error("failed to encode a DHCP reply")]
pub struct EncodeError(#[source] dhcproto::error::EncodeError);

impl Reply {
    /// The datagram that answers `request`, padded to the length old relays expect.
    pub fn encode(&self, request: &Request) -> Result<Vec<u8>, EncodeError> {
        let zero = Ipv4Addr::UNSPECIFIED;
        let hlen = usize::from(request.hlen).min(CHADDR_LEN);
        let chaddr = &request.chaddr[..hlen];
        let mut message =
            v4::Message::new_with_id(request.xid, zero, zero, self.server, request.giaddr, chaddr);
        message
            .set_opcode(v4::Opcode::BootReply)
            .set_htype(request.htype.into())
            .set_flags(request.flags.into());
        if self.boot_file.len() < FILE_FIELD_LEN {
            message.set_fname(self.boot_file.as_bytes());
        }
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(self.message_type));
        options.insert(DhcpOption::ServerIdentifier(self.server));
        let mut insert = |code: u8, value: Vec<u8>| {
            options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value)));
        };
        if let Some(value) = &self.vendor_specific {
            insert(option::VENDOR_SPECIFIC, value.clone());
        }
        insert(option::VENDOR_CLASS, self.vendor_class.clone());
        if self.tftp_server {
            insert(option::TFTP_SERVER, self.server.to_string().into_bytes());
        }
        insert(option::BOOT_FILE, self.boot_file.clone().into_bytes());
        for (code, value) in &self.echoed {
            insert(*code, value.clone());
        }
        let mut datagram = Vec::with_capacity(512);
        message.encode(&mut Encoder::new(&mut datagram)).map_err(EncodeError)?;
        if datagram.len() < MIN_REPLY_LEN {
            datagram.resize(MIN_REPLY_LEN, 0);
        }
        Ok(datagram)
    }
}
