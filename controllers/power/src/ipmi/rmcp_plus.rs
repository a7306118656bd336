//! Session packets of RMCP+ (IPMI 2.0, 13.6): header, sealing and opening.
//!
//! Never opens a packet before its authentication code was checked.

use super::error::ParseError;
use super::rmcp;
use super::suite::{Keys, codes_equal};

/// Authentication type of RMCP+.
const FORMAT: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// The "next header" byte, which has this one value.
const NEXT_HEADER: u8 = 0x07;
/// The RMCP header, which the authentication code leaves out.
const RMCP_LEN: usize = 4;
/// Format, type, session id, sequence number, length.
const HEADER_LEN: usize = 12;
const WHAT: &str = "an RMCP+ packet";

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// RMCP+ Open Session Request.
    OpenSessionRequest,
    /// RMCP+ Open Session Response.
    OpenSessionResponse,
    /// RAKP message 1.
    Rakp1,
    /// RAKP message 2.
    Rakp2,
    /// RAKP message 3.
    Rakp3,
    /// RAKP message 4.
    Rakp4,
}

impl PayloadType {
    const fn byte(self) -> u8 {
        match self {
            Self::Ipmi => 0x00,
            Self::OpenSessionRequest => 0x10,
            Self::OpenSessionResponse => 0x11,
            Self::Rakp1 => 0x12,
            Self::Rakp2 => 0x13,
            Self::Rakp3 => 0x14,
            Self::Rakp4 => 0x15,
        }
    }

    fn parse(byte: u8) -> Option<Self> {
        use PayloadType::{Ipmi, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4};
        [Ipmi, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4]
            .into_iter()
            .find(|payload| payload.byte() == byte)
    }
}

/// A session header and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// What it carries.
    pub payload_type: PayloadType,
    /// The payload is encrypted.
    pub encrypted: bool,
    /// A trailer with an authentication code follows the payload.
    pub authenticated: bool,
    /// Session id, 0 outside a session.
    pub session: u32,
    /// Sequence number, 0 outside a session.
    pub sequence: u32,
    /// The payload, as it came.
    pub payload: &'a [u8],
    /// What follows the payload.
    pub trailer: &'a [u8],
}

/// Parses what follows the RMCP header.
pub fn parse_session_header(bytes: &[u8]) -> Result<Header<'_>, ParseError> {
    let (&[format, kind, i0, i1, i2, i3, s0, s1, s2, s3, l0, l1], rest) =
        bytes.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::Short { what: WHAT })?;
    if format != FORMAT {
        return Err(ParseError::Field { what: WHAT, field: "the authentication type", value: format });
    }
    let payload_type = PayloadType::parse(kind & !(ENCRYPTED | AUTHENTICATED)).ok_or(ParseError::Field {
        what: WHAT,
        field: "the payload type",
        value: kind,
    })?;
    let (payload, trailer) = rest
        .split_at_checked(usize::from(u16::from_le_bytes([l0, l1])))
        .ok_or(ParseError::Length { what: WHAT })?;
    Ok(Header {
        payload_type,
        encrypted: kind & ENCRYPTED != 0,
        authenticated: kind & AUTHENTICATED != 0,
        session: u32::from_le_bytes([i0, i1, i2, i3]),
        sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        payload,
        trailer,
    })
}

/// A packet outside a session: neither encrypted nor authenticated.
pub(super) fn plain_packet(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    packet(payload_type.byte(), 0, 0, payload)
}

fn packet(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = rmcp::HEADER.to_vec();
    bytes.extend([FORMAT, kind]);
    bytes.extend(session.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    // Every payload here is shorter than a datagram; a longer one would get a length the BMC refuses.
    bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// A payload outside a session, of the type wanted.
pub(super) fn open_plain(bytes: &[u8], wanted: PayloadType) -> Result<&[u8], ParseError> {
    let header = parse_session_header(rmcp::parse_ipmi(bytes)?)?;
    if header.payload_type != wanted || header.encrypted || header.authenticated {
        let value = header.payload_type.byte();
        return Err(ParseError::Field { what: WHAT, field: "the payload type", value });
    }
    Ok(header.payload)
}

/// An encrypted and authenticated IPMI message of a session.
pub(super) fn seal(keys: &Keys, session: u32, sequence: u32, message: &[u8], vector: [u8; 16]) -> Vec<u8> {
    let payload = keys.encrypt(message, vector);
    let mut bytes = packet(PayloadType::Ipmi.byte() | ENCRYPTED | AUTHENTICATED, session, sequence, &payload);
    // The authentication code covers a multiple of four bytes, pad length and next header included.
    let padding = (4 - (bytes.len() - RMCP_LEN + 2) % 4) % 4;
    bytes.extend(std::iter::repeat_n(0xff, padding));
    bytes.extend(u8::try_from(padding));
    bytes.push(NEXT_HEADER);
    let code = keys.sign(bytes.get(RMCP_LEN..).unwrap_or_default());
    bytes.extend(code);
    bytes
}

/// Checks and decrypts an IPMI message of session `session`; gives its sequence number too.
pub fn open_packet(keys: &Keys, session: u32, bytes: &[u8]) -> Result<(u32, Vec<u8>), ParseError> {
    let rest = rmcp::parse_ipmi(bytes)?;
    let header = parse_session_header(rest)?;
    if header.payload_type != PayloadType::Ipmi || !header.encrypted || !header.authenticated {
        let value = header.payload_type.byte();
        return Err(ParseError::Field { what: WHAT, field: "the payload type", value });
    }
    if header.session != session {
        return Err(ParseError::Field {
            what: WHAT,
            field: "the session id",
            value: header.session.to_le_bytes()[0],
        });
    }
    let signed = rest.len().checked_sub(keys.integrity_len()).ok_or(ParseError::Short { what: WHAT })?;
    let (signed, code) = rest.split_at_checked(signed).ok_or(ParseError::Short { what: WHAT })?;
    if !codes_equal(&keys.sign(signed), code) {
        return Err(ParseError::Integrity);
    }
    check_trailer(header.trailer.len(), keys.integrity_len(), signed)?;
    Ok((header.sequence, keys.decrypt(header.payload)?))
}

/// The trailer is padding, its length, the next header and the code, and nothing else.
fn check_trailer(length: usize, code: usize, signed: &[u8]) -> Result<(), ParseError> {
    let [.., padding, next] = *signed else { return Err(ParseError::Short { what: WHAT }) };
    if next != NEXT_HEADER {
        return Err(ParseError::Field { what: WHAT, field: "the next header", value: next });
    }
    if length != usize::from(padding) + 2 + code {
        return Err(ParseError::Length { what: WHAT });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::suite::Suite;
    use super::*;

    fn keys() -> Keys {
        Keys::derive(Suite::Three, &[7; 20])
    }

    #[test]
    fn opens_what_it_sealed() {
        for length in 0..40 {
            let message = vec![0x5a; length];
            for suite in [Suite::Three, Suite::Seventeen] {
                let keys = Keys::derive(suite, &[7; 20]);
                let sealed = seal(&keys, 42, 3, &message, [1; 16]);
                assert_eq!(open_packet(&keys, 42, &sealed).unwrap(), (3, message.clone()));
            }
        }
    }

    #[test]
    fn refuses_a_packet_with_any_bit_changed_or_byte_missing() {
        let sealed = seal(&keys(), 42, 3, &[1, 2, 3, 4, 5], [1; 16]);
        // The reserved byte and the sequence number of the RMCP header mean nothing.
        for bit in (0..sealed.len() * 8).filter(|bit| !(8..24).contains(bit)) {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open_packet(&keys(), 42, &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open_packet(&keys(), 42, &sealed[..length]).is_err(), "{length} bytes");
        }
        assert!(open_packet(&keys(), 43, &sealed).is_err());
    }

    #[test]
    fn refuses_a_signed_packet_that_is_malformed() {
        let keys = keys();
        let sign = |body: &[u8]| {
            let mut bytes = rmcp::HEADER.to_vec();
            bytes.extend(body);
            bytes.extend(keys.sign(body));
            bytes
        };
        let body = |length: u8, payload: usize, tail: &[u8]| {
            let mut body = vec![FORMAT, 0xc0, 42, 0, 0, 0, 1, 0, 0, 0, length, 0];
            body.extend(vec![0; payload]);
            body.extend(tail);
            body
        };
        let table = [
            ("no trailer", body(0, 0, &[])),
            ("wrong next header", body(0, 0, &[0xff, 0xff, 2, 6])),
            ("padding longer than the packet", body(0, 0, &[0xff, 0xff, 200, 7])),
            ("payload of 17 bytes cannot be encrypted", body(17, 17, &[0xff, 1, 7])),
            ("empty payload", body(0, 0, &[0xff, 0xff, 2, 7])),
            ("length beyond the packet", body(255, 17, &[0xff, 1, 7])),
        ];
        for (name, body) in table {
            assert!(open_packet(&keys, 42, &sign(&body)).is_err(), "{name}");
        }
    }

    #[test]
    fn refuses_bad_headers() {
        let good = plain_packet(PayloadType::Rakp2, &[1, 2, 3]);
        assert_eq!(open_plain(&good, PayloadType::Rakp2).unwrap(), [1, 2, 3]);
        assert!(open_plain(&good, PayloadType::Rakp4).is_err());
        for length in 0..good.len() {
            assert!(open_plain(&good[..length], PayloadType::Rakp2).is_err(), "{length} bytes");
        }
        for (at, value) in [(0, 5), (3, 6), (3, 9), (4, 2), (5, 0x3f), (5, 0x93), (15, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(open_plain(&bad, PayloadType::Rakp2).is_err(), "byte {at} = {value}");
        }
    }
}
