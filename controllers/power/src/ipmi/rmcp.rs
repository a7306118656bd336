//! The RMCP header in front of every packet (IPMI 2.0, 13.1.3).
//!
//! Never looks past its four bytes.

use super::error::ParseError;

const VERSION: u8 = 0x06;
/// No RMCP acknowledge wanted, the only value with IPMI.
const NO_SEQUENCE: u8 = 0xff;
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;

/// What follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An IPMI session packet.
    Ipmi,
    /// A message of the Alert Standard Format (presence pong).
    Asf,
}

/// The header of an IPMI packet.
pub(super) const HEADER: [u8; 4] = [VERSION, 0, NO_SEQUENCE, CLASS_IPMI];

/// Splits a packet into class and the rest.
pub fn parse_rmcp(bytes: &[u8]) -> Result<(Class, &[u8]), ParseError> {
    const WHAT: &str = "an RMCP header";
    let (&[version, _reserved, _sequence, class], rest) =
        bytes.split_first_chunk::<4>().ok_or(ParseError::Short { what: WHAT })?;
    if version != VERSION {
        return Err(ParseError::Field { what: WHAT, field: "the version", value: version });
    }
    match class {
        CLASS_IPMI => Ok((Class::Ipmi, rest)),
        CLASS_ASF => Ok((Class::Asf, rest)),
        value => Err(ParseError::Field { what: WHAT, field: "the class", value }),
    }
}

/// The rest of a packet whose class must be IPMI.
pub(super) fn parse_ipmi(bytes: &[u8]) -> Result<&[u8], ParseError> {
    match parse_rmcp(bytes)? {
        (Class::Ipmi, rest) => Ok(rest),
        (Class::Asf, _) => {
            Err(ParseError::Field { what: "an RMCP header", field: "the class", value: CLASS_ASF })
        }
    }
}
