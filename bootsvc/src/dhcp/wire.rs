//! DHCP messages as this service sees them: raw options in, one reply out (RFC 2131, 2132, 4578).
//!
//! Option values are kept as bytes on purpose: an option that we do not use must never make a
//! request unreadable, and one that we echo must come back bit by bit. Nothing is allocated for a
//! request unless it splits an option in parts.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use bloomery_hostnet::MacAddr;
use dhcproto::v4::MessageType;

use crate::trace::SystemUuid;

/// The `op` field of a client's message, and of a server's.
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
/// Octets of the fixed header up to the options, the magic cookie included.
const FIXED_LEN: usize = 240;
/// Where the cookie stands, and what it is (RFC 2131 section 3).
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Option codes without a length.
const PAD: u8 = 0;
const END: u8 = 255;
/// Longest part of an option; more is written as further parts (RFC 3396).
const MAX_PART: usize = 255;

/// Smallest datagram some BOOTP relays and firmware accept (RFC 1542 section 2.1: 300 octets).
const MIN_REPLY_LEN: usize = 300;
/// Size of the `chaddr` field; a longer `hlen` is a broken or hostile packet.
const CHADDR_LEN: usize = 16;
/// Where the `file` field stands.
const FILE_FIELD_AT: usize = 108;
/// Size of the `file` field, its terminating NUL included.
const FILE_FIELD_LEN: usize = 128;
/// Option 97 is one type octet and a 16-octet GUID (RFC 4578 section 2.3).
const MACHINE_ID_LEN: usize = 17;

/// Option numbers used here (RFC 2132, 3004, 3046, 4578).
pub mod option {
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Vendor-specific information; for PXE clients the PXE sub-options.
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY_INFO: u8 = 82;
    pub const ARCHITECTURE: u8 = 93;
    /// Client machine identifier (GUID).
    pub const MACHINE_ID: u8 = 97;
    /// What an iPXE can do, as sub-options.
    pub const IPXE: u8 = 175;
}

/// PXE sub-option of option 43: the item that a client chose (PXE 2.1 table 2-1), a type and a layer.
const BOOT_ITEM: u8 = 71;
/// PXE sub-option 6 (discovery control) with bit 3, "boot the file named in the offer". It saves the client the second
/// exchange on port 4011.
const BOOT_NAMED_FILE: [u8; 3] = [6, 1, 8];
/// Sub-option of 175 by which an iPXE says that it has HTTP.
const IPXE_HTTP: u8 = 19;
/// Sub-options of 175 below this are settings, not abilities.
const IPXE_ABILITIES: std::ops::RangeInclusive<u8> = 16..=47;
/// Where a class identifier names its architecture (PXE 2.1 table 2-1): `PXEClient:Arch:00007:UNDI:003016`.
const CLASS_ARCHITECTURE: &[u8] = b":Arch:";
/// Digits of it.
const CLASS_DIGITS: usize = 5;

/// The options that are read; their places in [`Request`].
const READ: [u8; 10] = [
    option::REQUESTED_ADDRESS,
    option::MESSAGE_TYPE,
    option::VENDOR_CLASS,
    option::CLIENT_ID,
    option::USER_CLASS,
    option::RELAY_INFO,
    option::ARCHITECTURE,
    option::MACHINE_ID,
    option::VENDOR_SPECIFIC,
    option::IPXE,
];

/// Why a datagram is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than the fixed header and the magic cookie (240 octets).
    #[error("failed to parse a DHCP message of {len} octets: too short")]
    TooShort { len: usize },
    /// Not a BOOTREQUEST; answers of other servers are seen on broadcast too.
    #[error("failed to accept a DHCP message with op {op}: not a request")]
    NotARequest { op: u8 },
    /// `hlen` is larger than the `chaddr` field.
    #[error("failed to parse a DHCP message: hardware address of {hlen} octets")]
    HardwareAddressLength { hlen: u8 },
}

/// A client's request; only the fields that the answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Hardware type, 1 for Ethernet.
    pub htype: u8,
    /// Length of the hardware address, at most 16.
    pub hlen: u8,
    pub xid: u32,
    /// Flags as sent; bit 15 is "broadcast".
    pub flags: u16,
    /// Address of the client, if it has one, or 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// Address of the relay agent, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The whole `chaddr` field.
    pub chaddr: [u8; CHADDR_LEN],
    options: [Option<Cow<'a, [u8]>>; READ.len()],
}

/// Option 97 is present and is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMachineId;

impl<'a> Request<'a> {
    /// Reads one datagram. Options that are cut short end the list; they are not an error, as
    /// firmware is known to pad carelessly.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        if datagram.len() < FIXED_LEN {
            return Err(ParseError::TooShort { len: datagram.len() });
        }
        let (op, hlen) = (datagram[0], datagram[2]);
        if op != BOOT_REQUEST {
            return Err(ParseError::NotARequest { op });
        }
        if usize::from(hlen) > CHADDR_LEN {
            return Err(ParseError::HardwareAddressLength { hlen });
        }
        let mut chaddr = [0; CHADDR_LEN];
        chaddr.copy_from_slice(&datagram[28..28 + CHADDR_LEN]);
        let four = |at: usize| [datagram[at], datagram[at + 1], datagram[at + 2], datagram[at + 3]];
        let mut request = Self {
            htype: datagram[1],
            hlen,
            xid: u32::from_be_bytes(four(4)),
            flags: u16::from_be_bytes([datagram[10], datagram[11]]),
            ciaddr: four(12).into(),
            giaddr: four(24).into(),
            chaddr,
            options: [const { None }; READ.len()],
        };
        // Without the cookie it is BOOTP of 1985, which has no options.
        if datagram[COOKIE_AT..FIXED_LEN] == COOKIE {
            request.read_options(&datagram[FIXED_LEN..]);
        }
        Ok(request)
    }

    fn read_options(&mut self, mut rest: &'a [u8]) {
        while let Some((&code, tail)) = rest.split_first() {
            match code {
                PAD => rest = tail,
                END => return,
                _ => {
                    let Some((&len, tail)) = tail.split_first() else { return };
                    let Some((value, tail)) = tail.split_at_checked(usize::from(len)) else { return };
                    rest = tail;
                    let Some(place) = READ.iter().position(|&read| read == code) else { continue };
                    match &mut self.options[place] {
                        // Parts of one option may stand apart; they belong together (RFC 3396 section 5).
                        Some(known) => known.to_mut().extend_from_slice(value),
                        empty => *empty = Some(Cow::Borrowed(value)),
                    }
                }
            }
        }
    }

    /// An option's value, all its parts joined; only those that this service reads.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        let place = READ.iter().position(|&read| read == code)?;
        self.options[place].as_deref()
    }

    /// Option 53.
    pub fn message_type(&self) -> Option<MessageType> {
        match self.option(option::MESSAGE_TYPE)? {
            [kind] => Some(MessageType::from(*kind)),
            _ => None,
        }
    }

    /// Option 93 as the list of 16-bit values that RFC 4578 section 2.1 makes it; without it, what option 60 names.
    pub fn architectures(&self) -> Option<impl DoubleEndedIterator<Item = u16>> {
        let listed = self.option(option::ARCHITECTURE);
        let named = if listed.is_none() { Some(self.class_architecture()?) } else { None };
        let listed = listed.unwrap_or_default().chunks_exact(2);
        Some(listed.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).chain(named))
    }

    fn class_architecture(&self) -> Option<u16> {
        let class = self.option(option::VENDOR_CLASS)?;
        let at = class.windows(CLASS_ARCHITECTURE.len()).position(|part| part == CLASS_ARCHITECTURE)?;
        let digits = class.get(at + CLASS_ARCHITECTURE.len()..)?.get(..CLASS_DIGITS)?;
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Whether this is an iPXE that lists what it can do, and HTTP is not in the list.
    pub fn is_ipxe_without_http(&self) -> bool {
        let Some(list) = self.option(option::IPXE) else { return false };
        let mut abilities = sub_options(list).filter(|(code, _)| IPXE_ABILITIES.contains(code)).peekable();
        abilities.peek().is_some() && !abilities.any(|(code, value)| code == IPXE_HTTP && value != [0])
    }

    /// The item that a PXE client chose, which a boot server's answer repeats.
    pub fn boot_item(&self) -> Option<[u8; 4]> {
        let (_, item) =
            sub_options(self.option(option::VENDOR_SPECIFIC)?).find(|(code, _)| *code == BOOT_ITEM)?;
        item.try_into().ok()
    }

    /// Whether option 60 begins with `prefix`.
    pub fn vendor_class_starts_with(&self, prefix: &str) -> bool {
        self.option(option::VENDOR_CLASS).is_some_and(|class| class.starts_with(prefix.as_bytes()))
    }

    /// Whether one of the user classes holds `name`: option 77 is the list of RFC 3004, or one raw
    /// string. A name never spans two classes of a list, as a length stands between them.
    pub fn user_class_holds(&self, name: &[u8]) -> bool {
        self.option(option::USER_CLASS)
            .is_some_and(|value| value.windows(name.len()).any(|part| part == name))
    }

    /// Option 97 in the order of SMBIOS's text form (first three fields little-endian on the wire).
    /// None as well for the values of boards without a UUID.
    pub fn machine_uuid(&self) -> Result<Option<SystemUuid>, BadMachineId> {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let Some(id) = self.option(option::MACHINE_ID) else { return Ok(None) };
        match id {
            [0, guid @ ..] if id.len() == MACHINE_ID_LEN => Ok(SystemUuid::new(ORDER.map(|at| guid[at]))),
            _ => Err(BadMachineId),
        }
    }

    /// The hardware address, if it is one of Ethernet.
    pub fn mac(&self) -> Option<MacAddr> {
        MacAddr::from_slice(self.chaddr.get(..usize::from(self.hlen))?)
    }

    /// The address that a client asks the site's server for, or has already.
    pub fn wanted_address(&self) -> Option<Ipv4Addr> {
        match self.option(option::REQUESTED_ADDRESS) {
            Some(&[a, b, c, d]) => Some(Ipv4Addr::new(a, b, c, d)),
            _ => Some(self.ciaddr).filter(|address| !address.is_unspecified()),
        }
    }

    /// The hardware address in colon form; empty when the client sent none.
    pub fn hardware_address(&self) -> HardwareAddress<'_> {
        HardwareAddress(&self.chaddr[..usize::from(self.hlen).min(CHADDR_LEN)])
    }
}

/// The sub-options of an encapsulating option; one that is cut short ends them.
fn sub_options(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        while let Some((&PAD, tail)) = rest.split_first() {
            rest = tail;
        }
        let (&code, tail) = rest.split_first().filter(|(code, _)| **code != END)?;
        let (&len, tail) = tail.split_first()?;
        let (value, tail) = tail.split_at_checked(usize::from(len))?;
        rest = tail;
        Some((code, value))
    })
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
pub struct Reply<'a> {
    /// OFFER on port 67, ACK on port 4011.
    pub message_type: MessageType,
    /// `siaddr` and option 54.
    pub server: Ipv4Addr,
    /// Option 67, and the `file` field where it fits.
    pub boot_file: Cow<'static, str>,
    /// Whether option 66 names the server; only for files fetched by TFTP.
    pub tftp_server: bool,
    /// Option 43, PXE clients only.
    pub vendor_specific: Option<VendorSpecific>,
    /// Option 60.
    pub vendor_class: &'a [u8],
}

/// Option 43 of an answer: "boot the named file", and the item that the client chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorSpecific {
    /// On port 4011, where a client names one (PXE 2.1 section 2.2.4).
    pub boot_item: Option<[u8; 4]>,
}

impl VendorSpecific {
    /// Writes it into `buffer`; gives the part that was written.
    fn write(self, buffer: &mut [u8; 10]) -> &[u8] {
        buffer[..3].copy_from_slice(&BOOT_NAMED_FILE);
        let mut len = 3;
        if let Some(item) = self.boot_item {
            buffer[3..5].copy_from_slice(&[BOOT_ITEM, 4]);
            buffer[5..9].copy_from_slice(&item);
            len = 9;
        }
        buffer[len] = END;
        &buffer[..=len]
    }
}

/// Options that go back as they came, 60 apart, which has a default. 82 is the last of a reply
/// (RFC 3046 section 2.2).
const ECHOED: [u8; 3] = [option::CLIENT_ID, option::MACHINE_ID, option::RELAY_INFO];

impl Reply<'_> {
    /// Writes the datagram that answers `request` into an emptied `datagram`, padded to the length
    /// old relays expect.
    pub fn encode(&self, request: &Request<'_>, datagram: &mut Vec<u8>) {
        datagram.clear();
        datagram.resize(FIXED_LEN, 0);
        datagram[..4].copy_from_slice(&[BOOT_REPLY, request.htype, request.hlen, 0]);
        datagram[4..8].copy_from_slice(&request.xid.to_be_bytes());
        datagram[10..12].copy_from_slice(&request.flags.to_be_bytes());
        datagram[20..24].copy_from_slice(&self.server.octets());
        datagram[24..28].copy_from_slice(&request.giaddr.octets());
        datagram[28..28 + CHADDR_LEN].copy_from_slice(&request.chaddr);
        let file = self.boot_file.as_bytes();
        if file.len() < FILE_FIELD_LEN {
            datagram[FILE_FIELD_AT..FILE_FIELD_AT + file.len()].copy_from_slice(file);
        }
        datagram[COOKIE_AT..FIXED_LEN].copy_from_slice(&COOKIE);
        push(datagram, option::MESSAGE_TYPE, &[self.message_type.into()]);
        push(datagram, option::SERVER_ID, &self.server.octets());
        if let Some(value) = self.vendor_specific {
            push(datagram, option::VENDOR_SPECIFIC, value.write(&mut [0; 10]));
        }
        push(datagram, option::VENDOR_CLASS, self.vendor_class);
        if self.tftp_server {
            push_text(datagram, option::TFTP_SERVER, self.server.to_string().as_bytes());
        }
        push_text(datagram, option::BOOT_FILE, file);
        for code in ECHOED {
            if let Some(value) = request.option(code) {
                push(datagram, code, value);
            }
        }
        datagram.push(END);
        if datagram.len() < MIN_REPLY_LEN {
            datagram.resize(MIN_REPLY_LEN, 0);
        }
    }
}

/// Writes an option, in parts if it is long. A value of no octets is still an option.
fn push(datagram: &mut Vec<u8>, code: u8, value: &[u8]) {
    for part in value.chunks(MAX_PART).chain(value.is_empty().then_some(value)) {
        datagram.extend_from_slice(&[code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
        datagram.extend_from_slice(part);
    }
}

/// Writes a text with a NUL behind it, as other servers do: old ROMs read it to the next NUL (RFC 2132 section 2 allows
/// one). One that would need a second part for that has none.
fn push_text(datagram: &mut Vec<u8>, code: u8, text: &[u8]) {
    match u8::try_from(text.len() + 1) {
        Ok(len) => {
            datagram.extend_from_slice(&[code, len]);
            datagram.extend_from_slice(text);
            datagram.push(0);
        }
        Err(_) => push(datagram, code, text),
    }
}
