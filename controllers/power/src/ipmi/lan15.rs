//! Session packets of IPMI 1.5, and the messages that open such a session (IPMI 2.0, 13.6 and 22.15 to 22.17).
//!
//! Never uses MD2: where it is offered, MD5 is as well.

use hmac::digest::Digest;
use md5::Md5;
use zeroize::Zeroizing;

use super::error::ParseError;
use super::rmcp;
use super::suite::codes_equal;

const WHAT: &str = "an IPMI 1.5 session packet";
/// Header without authentication code: type, sequence number, session id.
const HEAD_LEN: usize = 9;
const CODE_LEN: usize = 16;
/// Lengths of whole packets at which some old network cards hang; such packets get one byte more (13.6).
const UNLUCKY: [usize; 5] = [56, 84, 112, 128, 156];

/// How packets prove who sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// Not at all.
    None,
    /// A keyed MD5 digest.
    Md5,
    /// The password in clear text.
    Straight,
}

impl AuthType {
    /// The byte on the wire.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Md5 => 2,
            Self::Straight => 4,
        }
    }

    fn parse(byte: u8) -> Result<Self, ParseError> {
        [Self::None, Self::Md5, Self::Straight]
            .into_iter()
            .find(|kind| kind.byte() == byte)
            .ok_or(ParseError::Field { what: WHAT, field: "the authentication type", value: byte })
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPacket<'a> {
    /// How it is authenticated.
    pub auth: AuthType,
    /// Sequence number, 0 outside a session.
    pub sequence: u32,
    /// Session id, 0 outside a session.
    pub session: u32,
    /// Authentication code, empty without one.
    pub code: &'a [u8],
    /// The IPMI message.
    pub payload: &'a [u8],
}

/// Parses what follows the RMCP header.
pub fn parse_session_packet(bytes: &[u8]) -> Result<SessionPacket<'_>, ParseError> {
    let short = ParseError::Short { what: WHAT };
    let (&[auth, s0, s1, s2, s3, i0, i1, i2, i3], rest) =
        bytes.split_first_chunk::<HEAD_LEN>().ok_or(short)?;
    let auth = AuthType::parse(auth)?;
    let code_len = if auth == AuthType::None { 0 } else { CODE_LEN };
    let (code, rest) = rest.split_at_checked(code_len).ok_or(short)?;
    let (length, rest) = rest.split_first().ok_or(short)?;
    let (payload, padding) =
        rest.split_at_checked(usize::from(*length)).ok_or(ParseError::Length { what: WHAT })?;
    if padding.len() > 1 {
        return Err(ParseError::Length { what: WHAT });
    }
    Ok(SessionPacket {
        auth,
        sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        session: u32::from_le_bytes([i0, i1, i2, i3]),
        code,
        payload,
    })
}

/// A password as IPMI 1.5 uses it: 16 bytes, filled up with zeros.
pub(super) fn password_block(password: &[u8]) -> Zeroizing<[u8; CODE_LEN]> {
    let mut block = Zeroizing::new([0; CODE_LEN]);
    for (to, from) in block.iter_mut().zip(password) {
        *to = *from;
    }
    block
}

fn code(auth: AuthType, password: &[u8; CODE_LEN], session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    match auth {
        AuthType::None => Vec::new(),
        AuthType::Straight => password.to_vec(),
        AuthType::Md5 => Md5::new()
            .chain_update(password)
            .chain_update(session.to_le_bytes())
            .chain_update(payload)
            .chain_update(sequence.to_le_bytes())
            .chain_update(password)
            .finalize()
            .to_vec(),
    }
}

/// A packet of a session, or outside one with `AuthType::None` and zeros.
pub(super) fn packet(
    auth: AuthType,
    password: &[u8; CODE_LEN],
    session: u32,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = rmcp::HEADER.to_vec();
    bytes.push(auth.byte());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(session.to_le_bytes());
    bytes.extend(code(auth, password, session, sequence, payload));
    // Every message here is shorter; a longer one would get a length the BMC refuses.
    bytes.push(u8::try_from(payload.len()).unwrap_or(u8::MAX));
    bytes.extend(payload);
    if UNLUCKY.contains(&bytes.len()) {
        bytes.push(0);
    }
    bytes
}

impl SessionPacket<'_> {
    /// The code is right; true for packets that have none.
    pub(super) fn is_authentic(&self, password: &[u8; CODE_LEN]) -> bool {
        self.auth == AuthType::None
            || codes_equal(&code(self.auth, password, self.session, self.sequence, self.payload), self.code)
    }
}

/// Parses the data of Get Session Challenge: session id and challenge.
pub fn parse_challenge(data: &[u8]) -> Result<(u32, [u8; 16]), ParseError> {
    const WHAT: &str = "a session challenge";
    let (session, rest) = data.split_first_chunk::<4>().ok_or(ParseError::Short { what: WHAT })?;
    let (challenge, _) = rest.split_first_chunk::<16>().ok_or(ParseError::Short { what: WHAT })?;
    Ok((u32::from_le_bytes(*session), *challenge))
}

/// Parses the data of Activate Session: authentication of what follows, session id, first sequence number to send.
pub fn parse_activated(data: &[u8]) -> Result<(AuthType, u32, u32), ParseError> {
    const WHAT: &str = "an activated session";
    let (&[auth, i0, i1, i2, i3, s0, s1, s2, s3], _) =
        data.split_first_chunk::<HEAD_LEN>().ok_or(ParseError::Short { what: WHAT })?;
    let session = u32::from_le_bytes([i0, i1, i2, i3]);
    if session == 0 {
        return Err(ParseError::Field { what: WHAT, field: "the session id", value: 0 });
    }
    Ok((AuthType::parse(auth & 0x0f)?, session, u32::from_le_bytes([s0, s1, s2, s3])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_what_it_sent_and_nothing_else() {
        let password = password_block(b"secret");
        for auth in [AuthType::None, AuthType::Md5, AuthType::Straight] {
            let bytes = packet(auth, &password, 42, 7, &[1, 2, 3]);
            let parsed = parse_session_packet(&bytes[4..]).unwrap();
            assert_eq!(
                (parsed.auth, parsed.session, parsed.sequence, parsed.payload),
                (auth, 42, 7, &[1, 2, 3][..])
            );
            assert!(parsed.is_authentic(&password));
            assert_eq!(parsed.is_authentic(&password_block(b"other")), auth == AuthType::None);
        }
        let mut bytes = packet(AuthType::Md5, &password, 42, 7, &[1, 2, 3]);
        for at in [5, 9, 13, 30] {
            bytes[at] ^= 1;
            assert!(!parse_session_packet(&bytes[4..]).unwrap().is_authentic(&password), "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn pads_packets_of_unlucky_lengths() {
        let lengths: Vec<usize> =
            (0..200).map(|length| packet(AuthType::None, &[0; 16], 0, 0, &vec![0; length]).len()).collect();
        assert!(UNLUCKY.iter().all(|unlucky| !lengths.contains(unlucky)));
    }

    #[test]
    fn refuses_bad_packets() {
        let good = packet(AuthType::Md5, &[0; 16], 42, 7, &[1, 2, 3]);
        for length in 4..good.len() {
            assert!(parse_session_packet(&good[4..length]).is_err(), "{length} bytes");
        }
        for (at, value) in [(4, 1), (4, 3), (4, 5), (4, 6), (29, 1), (29, 200)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(parse_session_packet(&bad[4..]).is_err(), "byte {at} = {value}");
        }
        assert!(parse_challenge(&[0; 19]).is_err());
        assert!(parse_activated(&[0; 9]).is_err());
        assert!(parse_activated(&[1, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(parse_activated(&[2, 1, 0, 0, 0, 9, 0, 0, 0, 4]).unwrap(), (AuthType::Md5, 1, 9));
    }
}
