//! TFTP packets (RFC 1350, option extension RFC 2347, options RFC 2348, 2349 and 7440).

use bytes::{BufMut, Bytes, BytesMut};

/// Block size without negotiation (RFC 1350).
pub const DEFAULT_BLOCK_SIZE: u16 = 512;
/// Smallest and largest `blksize` (RFC 2348).
pub const BLOCK_SIZES: std::ops::RangeInclusive<u16> = 8..=65464;
/// Longest request that is looked at (RFC 2347 section 2 limits requests to 512 octets).
const MAX_REQUEST_LEN: usize = 512;

const OP_READ: u16 = 1;
const OP_WRITE: u16 = 2;
const OP_DATA: u16 = 3;
const OP_ACK: u16 = 4;
const OP_ERROR: u16 = 5;
const OP_OPTION_ACK: u16 = 6;

/// How the file is to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Octet,
    /// With CR LF line ends (RFC 764).
    Netascii,
}

/// Options of a read request; unknown and out-of-range ones are left out, so they get no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `blksize`, octets.
    pub block_size: Option<u16>,
    /// `timeout`, seconds.
    pub timeout: Option<u8>,
    /// `tsize` was asked for.
    pub transfer_size: bool,
    /// `windowsize`, blocks.
    pub window_size: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    pub path: String,
    pub mode: Mode,
    pub options: Options,
}

/// A packet that a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// RRQ.
    Read(ReadRequest),
    /// WRQ.
    Write,
    /// ACK of a block.
    Ack(u16),
    /// ERROR with its code and text: the client ends the transfer.
    Error {
        /// RFC 1350 error code.
        code: u16,
        text: String,
    },
    /// DATA or OACK, which only a server sends.
    ServerOnly,
}

/// Why a datagram is no TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer octets than the packet needs.
    #[error("failed to parse a TFTP packet: too short")]
    TooShort,
    /// Opcode outside RFC 1350 and 2347.
    #[error("failed to parse a TFTP packet: opcode {0}")]
    Opcode(u16),
    /// More octets than a request may have.
    #[error("failed to parse a TFTP request: too long")]
    TooLong,
    /// A string without its NUL, or not UTF-8.
    #[error("failed to parse a TFTP request: malformed string")]
    Text,
    /// A mode other than octet and netascii.
    #[error("failed to parse a TFTP request: unknown mode")]
    Mode,
}

/// Error codes of RFC 1350 that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0, see the text.
    Undefined = 0,
    /// 1; also what a write request gets, as upstream has it.
    FileNotFound = 1,
    /// 4.
    IllegalOperation = 4,
}

impl Packet {
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let (op, body) = take_u16(datagram)?;
        match op {
            OP_READ => parse_read(body).map(Self::Read),
            OP_WRITE => Ok(Self::Write),
            OP_ACK => Ok(Self::Ack(take_u16(body)?.0)),
            OP_ERROR => {
                let (code, text) = take_u16(body)?;
                let end = text.iter().position(|&octet| octet == 0).unwrap_or(text.len());
                Ok(Self::Error { code, text: String::from_utf8_lossy(&text[..end]).into_owned() })
            }
            OP_DATA | OP_OPTION_ACK => Ok(Self::ServerOnly),
            other => Err(ParseError::Opcode(other)),
        }
    }
}

fn take_u16(octets: &[u8]) -> Result<(u16, &[u8]), ParseError> {
    match octets {
        [high, low, rest @ ..] => Ok((u16::from_be_bytes([*high, *low]), rest)),
        _ => Err(ParseError::TooShort),
    }
}

fn take_text(octets: &[u8]) -> Result<(&str, &[u8]), ParseError> {
    let end = octets.iter().position(|&octet| octet == 0).ok_or(ParseError::Text)?;
    let text = std::str::from_utf8(&octets[..end]).map_err(|_| ParseError::Text)?;
    Ok((text, &octets[end + 1..]))
}

fn parse_read(body: &[u8]) -> Result<ReadRequest, ParseError> {
    if body.len() > MAX_REQUEST_LEN {
        return Err(ParseError::TooLong);
    }
    let (path, rest) = take_text(body)?;
    let (mode, mut rest) = take_text(rest)?;
    let mode = match mode.to_ascii_lowercase().as_str() {
        "octet" => Mode::Octet,
        "netascii" => Mode::Netascii,
        _ => return Err(ParseError::Mode),
    };
    let mut options = Options::default();
    // A list that is cut short ends it; what was readable counts.
    while let Ok((name, after)) = take_text(rest) {
        let Ok((value, after)) = take_text(after) else { break };
        options.set(name, value);
        rest = after;
    }
    Ok(ReadRequest { path: path.to_owned(), mode, options })
}

impl Options {
    fn set(&mut self, name: &str, value: &str) {
        match name.to_ascii_lowercase().as_str() {
            "blksize" => self.block_size = value.parse().ok().filter(|size| BLOCK_SIZES.contains(size)),
            "timeout" => self.timeout = value.parse().ok().filter(|&seconds| seconds > 0),
            "tsize" => self.transfer_size = value.parse::<u64>().is_ok(),
            "windowsize" => self.window_size = value.parse().ok().filter(|&blocks| blocks > 0),
            _ => {}
        }
    }
}

/// Octets of a DATA packet before the block.
pub const DATA_HEADER_LEN: usize = 4;

/// DATA: what stands before the block.
pub fn data_header(block: u16) -> [u8; DATA_HEADER_LEN] {
    let ([_, op], [high, low]) = (OP_DATA.to_be_bytes(), block.to_be_bytes());
    [0, op, high, low]
}

/// OACK: the options as granted.
pub fn option_ack(granted: &[(&str, u64)]) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_u16(OP_OPTION_ACK);
    for (name, value) in granted {
        packet.put_slice(name.as_bytes());
        packet.put_u8(0);
        packet.put_slice(value.to_string().as_bytes());
        packet.put_u8(0);
    }
    packet.freeze()
}

/// ERROR: ends the transfer.
pub fn error(code: ErrorCode, text: &str) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_u16(OP_ERROR);
    packet.put_u16(code as u16);
    packet.put_slice(text.as_bytes());
    packet.put_u8(0);
    packet.freeze()
}
