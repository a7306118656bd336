//! The messages that open an RMCP+ session, and the codes in them (IPMI 2.0, 13.17 to 13.24 and 13.31).
//!
//! Never sends anything; never believes a code without computing it.

use zeroize::Zeroizing;

use super::error::ParseError;
use super::suite::{Keys, Suite, codes_equal};

pub(super) const ADMINISTRATOR: u8 = 4;
/// Look the user up by name alone, not by name and privilege.
const BY_NAME: u8 = 0x10;
const ROLE: u8 = ADMINISTRATOR | BY_NAME;
/// Status of RAKP message 3 when the BMC's code is wrong.
const INVALID_INTEGRITY: u8 = 0x0f;
const HEAD_LEN: usize = 8;

/// What the BMC agreed to in an Open Session Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSession {
    /// Our tag.
    pub tag: u8,
    /// 0 is success; else nothing below but our session id is set.
    pub status: u8,
    /// Our session id.
    pub console: u32,
    /// The BMC's session id.
    pub bmc: u32,
    /// Authentication, integrity and confidentiality algorithm.
    pub algorithms: [u8; 3],
}

/// RAKP message 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp2<'a> {
    /// Our tag.
    pub tag: u8,
    /// 0 is success; else nothing below but our session id is set.
    pub status: u8,
    /// Our session id.
    pub console: u32,
    /// The BMC's random number.
    pub random: [u8; 16],
    /// The BMC's GUID.
    pub guid: [u8; 16],
    /// Its proof that it knows the password.
    pub code: &'a [u8],
}

/// RAKP message 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp4<'a> {
    /// Our tag.
    pub tag: u8,
    /// 0 is success.
    pub status: u8,
    /// Our session id.
    pub console: u32,
    /// Its proof that it has the same keys.
    pub code: &'a [u8],
}

/// The 8 bytes all answers start with: tag, status, two of no interest, our session id. BMCs leave out what follows
/// the status when they refuse.
fn head<'a>(what: &'static str, bytes: &'a [u8]) -> Result<(u8, u8, u32, &'a [u8]), ParseError> {
    if let Some((&[tag, status, _, _, i0, i1, i2, i3], rest)) = bytes.split_first_chunk::<HEAD_LEN>() {
        return Ok((tag, status, u32::from_le_bytes([i0, i1, i2, i3]), rest));
    }
    match bytes {
        [tag, status, ..] if *status != 0 => Ok((*tag, *status, 0, &[])),
        _ => Err(ParseError::Short { what }),
    }
}

/// Parses an Open Session Response.
pub fn parse_open_session_response(bytes: &[u8]) -> Result<OpenSession, ParseError> {
    const WHAT: &str = "an RMCP+ Open Session Response";
    let (tag, status, console, rest) = head(WHAT, bytes)?;
    if status != 0 {
        return Ok(OpenSession { tag, status, console, bmc: 0, algorithms: [0; 3] });
    }
    let (id, rest) = rest.split_first_chunk::<4>().ok_or(ParseError::Short { what: WHAT })?;
    let (records, _) = rest.split_first_chunk::<24>().ok_or(ParseError::Short { what: WHAT })?;
    let mut algorithms = [0; 3];
    for (number, (record, algorithm)) in (0_u8..).zip(records.chunks_exact(8).zip(&mut algorithms)) {
        match record {
            [kind, _, _, _, value, ..] if *kind == number => *algorithm = value & 0x3f,
            _ => return Err(ParseError::Field { what: WHAT, field: "an algorithm record", value: number }),
        }
    }
    let bmc = u32::from_le_bytes(*id);
    if bmc == 0 {
        return Err(ParseError::Field { what: WHAT, field: "the BMC's session id", value: 0 });
    }
    Ok(OpenSession { tag, status, console, bmc, algorithms })
}

/// Parses RAKP message 2.
pub fn parse_rakp2(bytes: &[u8]) -> Result<Rakp2<'_>, ParseError> {
    const WHAT: &str = "RAKP message 2";
    let (tag, status, console, rest) = head(WHAT, bytes)?;
    if status != 0 {
        return Ok(Rakp2 { tag, status, console, random: [0; 16], guid: [0; 16], code: &[] });
    }
    let (random, rest) = rest.split_first_chunk::<16>().ok_or(ParseError::Short { what: WHAT })?;
    let (guid, code) = rest.split_first_chunk::<16>().ok_or(ParseError::Short { what: WHAT })?;
    Ok(Rakp2 { tag, status, console, random: *random, guid: *guid, code })
}

/// Parses RAKP message 4.
pub fn parse_rakp4(bytes: &[u8]) -> Result<Rakp4<'_>, ParseError> {
    let (tag, status, console, code) = head("RAKP message 4", bytes)?;
    Ok(Rakp4 { tag, status, console, code })
}

pub(super) fn open_session_request(tag: u8, suite: Suite, console: u32) -> Vec<u8> {
    let mut bytes = vec![tag, ADMINISTRATOR, 0, 0];
    bytes.extend(console.to_le_bytes());
    for (number, algorithm) in (0_u8..).zip(suite.algorithms()) {
        bytes.extend([number, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    bytes
}

/// Everything both sides know when RAKP message 2 has come.
pub(super) struct Exchange<'a> {
    pub(super) suite: Suite,
    /// Session id of ours and of the BMC's.
    pub(super) console: u32,
    pub(super) bmc: u32,
    pub(super) random: [u8; 16],
    /// User name, at most 16 bytes.
    pub(super) user: &'a [u8],
    /// Password, at most 20 bytes.
    pub(super) password: &'a [u8],
}

impl Exchange<'_> {
    fn role_and_user(&self) -> Vec<u8> {
        let mut bytes = vec![ROLE];
        bytes.extend(u8::try_from(self.user.len()));
        bytes.extend(self.user);
        bytes
    }

    pub(super) fn rakp1(&self, tag: u8) -> Vec<u8> {
        let mut bytes = vec![tag, 0, 0, 0];
        bytes.extend(self.bmc.to_le_bytes());
        bytes.extend(self.random);
        bytes.extend([ROLE, 0, 0]);
        bytes.extend(self.role_and_user().get(1..).unwrap_or_default());
        bytes
    }

    /// The BMC knows the password.
    pub(super) fn proves_password(&self, answer: &Rakp2<'_>) -> bool {
        let (console, bmc) = (self.console.to_le_bytes(), self.bmc.to_le_bytes());
        let parts: [&[u8]; 6] =
            [&console, &bmc, &self.random, &answer.random, &answer.guid, &self.role_and_user()];
        codes_equal(&self.suite.hmac(self.password, &parts), answer.code)
    }

    /// RAKP message 3: our proof that we know the password.
    pub(super) fn rakp3(&self, tag: u8, answer: &Rakp2<'_>) -> Vec<u8> {
        let console = self.console.to_le_bytes();
        let code = self.suite.hmac(self.password, &[&answer.random, &console, &self.role_and_user()]);
        let mut bytes = vec![tag, 0, 0, 0];
        bytes.extend(self.bmc.to_le_bytes());
        bytes.extend(code);
        bytes
    }

    /// RAKP message 3 that gives up, so that the BMC forgets the session.
    pub(super) fn rakp3_refusal(&self, tag: u8) -> Vec<u8> {
        let mut bytes = vec![tag, INVALID_INTEGRITY, 0, 0];
        bytes.extend(self.bmc.to_le_bytes());
        bytes
    }

    /// The session's integrity key (SIK).
    pub(super) fn session_key(&self, answer: &Rakp2<'_>) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.suite.hmac(self.password, &[&self.random, &answer.random, &self.role_and_user()]))
    }

    /// The session's keys, when the BMC proves in RAKP message 4 that it has them as well.
    pub(super) fn keys(&self, second: &Rakp2<'_>, fourth: &Rakp4<'_>) -> Result<Keys, ParseError> {
        let key = self.session_key(second);
        let mut code = self.suite.hmac(&key, &[&self.random, &self.bmc.to_le_bytes(), &second.guid]);
        code.truncate(self.suite.integrity_len());
        if codes_equal(&code, fourth.code) {
            Ok(Keys::derive(self.suite, &key))
        } else {
            Err(ParseError::Integrity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_session_response() -> Vec<u8> {
        let mut bytes = vec![9, 0, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        for (number, algorithm) in (0_u8..).zip([1, 1, 1]) {
            bytes.extend([number, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn understands_an_open_session_response_and_refuses_a_cut_one() {
        let bytes = open_session_response();
        let expected = OpenSession { tag: 9, status: 0, console: 1, bmc: 2, algorithms: [1, 1, 1] };
        assert_eq!(parse_open_session_response(&bytes).unwrap(), expected);
        for length in 0..bytes.len() {
            assert!(parse_open_session_response(&bytes[..length]).is_err(), "{length} bytes");
        }
        for (at, value) in [(8, 0), (12, 7), (20, 0), (28, 1)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(parse_open_session_response(&bad).is_err(), "byte {at} = {value}");
        }
    }

    #[test]
    fn understands_refusals_of_every_length() {
        for bytes in
            [&[9, 0x11][..], &[9, 0x11, 0, 0], &[9, 0x11, 0, 0, 1, 0, 0, 0], &[9, 0x11, 0, 0, 1, 0, 0, 0, 5]]
        {
            assert_eq!(parse_open_session_response(bytes).unwrap().status, 0x11);
            assert_eq!(parse_rakp2(bytes).unwrap().status, 0x11);
            assert_eq!(parse_rakp4(bytes).unwrap().status, 0x11);
        }
    }

    #[test]
    fn refuses_cut_rakp_messages() {
        let mut bytes = vec![9, 0, 0, 0, 1, 0, 0, 0];
        bytes.extend([3; 52]);
        assert_eq!(parse_rakp2(&bytes).unwrap().code.len(), 20);
        for length in 0..40 {
            assert!(parse_rakp2(&bytes[..length]).is_err(), "{length} bytes");
        }
        for length in 0..8 {
            assert!(parse_rakp4(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn believes_only_the_right_codes() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let exchange =
                Exchange { suite, console: 1, bmc: 2, random: [3; 16], user: b"admin", password: b"secret" };
            let other = Exchange { password: b"other", ..exchange };
            let code = suite.hmac(
                b"secret",
                &[&[1, 0, 0, 0], &[2, 0, 0, 0], &[3; 16], &[4; 16], &[5; 16], &[0x14, 5], b"admin"],
            );
            let second = Rakp2 { tag: 0, status: 0, console: 1, random: [4; 16], guid: [5; 16], code: &code };
            assert!(exchange.proves_password(&second));
            assert!(!other.proves_password(&second));
            assert!(!exchange.proves_password(&Rakp2 { code: &[], ..second }));
            assert!(!exchange.proves_password(&Rakp2 { code: &code[..12], ..second }));

            let key = exchange.session_key(&second);
            let mut code = suite.hmac(&key, &[&[3; 16], &[2, 0, 0, 0], &[5; 16]]);
            code.truncate(suite.integrity_len());
            let fourth = Rakp4 { tag: 0, status: 0, console: 1, code: &code };
            assert!(exchange.keys(&second, &fourth).is_ok());
            assert!(exchange.keys(&second, &Rakp4 { code: &[], ..fourth }).is_err());
            assert!(other.keys(&second, &fourth).is_err());
        }
    }
}
