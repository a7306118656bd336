//! IPMI messages: requests out, responses in (IPMI 2.0, 13.8).
//!
//! Never knows a session.

use super::error::ParseError;

/// The BMC's slave address.
const BMC: u8 = 0x20;
/// Our software id.
const CONSOLE: u8 = 0x81;
/// Shortest response: both addresses, netfn, sequence, command, completion code and two checksums.
const MIN_RESPONSE: usize = 8;
const WHAT: &str = "an IPMI message";

/// The number of the message after this one.
pub(super) const fn next_number(number: u8) -> u8 {
    (number + 1) & 0x3f
}

/// A command to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Name, for messages.
    pub step: &'static str,
    /// Network function.
    pub netfn: u8,
    /// Command.
    pub command: u8,
    /// Data.
    pub data: &'a [u8],
}

impl Request<'_> {
    /// The message with its number, `0..64`.
    pub(super) fn encode(&self, number: u8) -> Vec<u8> {
        let head = [BMC, self.netfn << 2];
        let mut bytes = head.to_vec();
        bytes.push(checksum(&head));
        let body = bytes.len();
        bytes.extend([CONSOLE, number << 2, self.command]);
        bytes.extend(self.data);
        bytes.push(checksum(bytes.get(body..).unwrap_or_default()));
        bytes
    }

    /// Completion code and data of `message`, if it answers this request sent with `number`.
    pub(super) fn answer(&self, number: u8, message: &[u8]) -> Result<Option<(u8, Vec<u8>)>, ParseError> {
        let response = parse_response(message)?;
        let fits =
            response.netfn == self.netfn | 1 && response.command == self.command && response.number == number;
        Ok(fits.then(|| (response.code, response.data.to_vec())))
    }
}

/// A response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// Network function, odd.
    pub netfn: u8,
    /// Number of the request, `0..64`.
    pub number: u8,
    /// Command.
    pub command: u8,
    /// Completion code, 0 is success.
    pub code: u8,
    /// Data after the completion code.
    pub data: &'a [u8],
}

/// Parses a response.
pub fn parse_response(bytes: &[u8]) -> Result<Response<'_>, ParseError> {
    if bytes.len() < MIN_RESPONSE {
        return Err(ParseError::Short { what: WHAT });
    }
    let ([address, netfn, sum], body) =
        bytes.split_first_chunk::<3>().ok_or(ParseError::Short { what: WHAT })?;
    if checksum(&[*address, *netfn]) != *sum {
        return Err(ParseError::Checksum);
    }
    let (sum, body) = body.split_last().ok_or(ParseError::Short { what: WHAT })?;
    if checksum(body) != *sum {
        return Err(ParseError::Checksum);
    }
    let ([_responder, number, command, code], data) =
        body.split_first_chunk::<4>().ok_or(ParseError::Short { what: WHAT })?;
    let netfn = netfn >> 2;
    if netfn & 1 == 0 {
        return Err(ParseError::Field { what: WHAT, field: "the network function", value: netfn });
    }
    Ok(Response { netfn, number: number >> 2, command: *command, code: *code, data })
}

/// Two's complement of the sum.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_the_specification_says() {
        let request = Request { step: "status", netfn: 0x00, command: 0x01, data: &[] };
        assert_eq!(request.encode(5), [0x20, 0x00, 0xe0, 0x81, 0x14, 0x01, 0x6a]);
    }

    #[test]
    fn understands_a_response() {
        let bytes = [0x81, 0x04, 0x7b, 0x20, 0x14, 0x01, 0x00, 0x21, 0x10, 0x40, 0x5a];
        let response = parse_response(&bytes).unwrap();
        let expected = Response { netfn: 1, number: 5, command: 1, code: 0, data: &[0x21, 0x10, 0x40] };
        assert_eq!(response, expected);
        let request = Request { step: "status", netfn: 0, command: 1, data: &[] };
        assert_eq!(request.answer(5, &bytes), Ok(Some((0, vec![0x21, 0x10, 0x40]))));
        assert_eq!(request.answer(4, &bytes), Ok(None));
    }

    #[test]
    fn refuses_bad_messages() {
        let good = [0x81, 0x04, 0x7b, 0x20, 0x14, 0x01, 0x00, 0x21, 0x10, 0x40, 0x5a];
        for length in 0..good.len() {
            assert!(parse_response(&good[..length]).is_err(), "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert_eq!(parse_response(&bad), Err(ParseError::Checksum), "byte {at}");
        }
        // A request is no response.
        let request = Request { step: "x", netfn: 0x06, command: 0x38, data: &[0x0e, 4] }.encode(0);
        assert!(matches!(parse_response(&request), Err(ParseError::Field { value: 6, .. })));
    }
}
