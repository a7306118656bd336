//! JSON as BMCs send it: with a byte order mark, control characters in strings, a NUL at the end, keys that come twice,
//! octets that are no UTF-8. What is wrong with a value that nobody reads must not hide the others.
//!
//! Pure; never makes text out of what is no JSON.

use serde_json::Value;

use super::error::ParseError;

/// Reads JSON; of a key that comes twice the last counts.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    // RFC 8259, 8.1. Within a string a control character stands for nothing anybody reads; between values it is a blank.
    let cleaned: String = text
        .trim_start_matches('\u{feff}')
        .chars()
        .map(|c| if u32::from(c) < u32::from(' ') { ' ' } else { c })
        .collect();
    serde_json::from_str(&cleaned).map_err(|error| ParseError::Json { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_strict_parsers_refuse() {
        let expected = json!({ "PowerState": "On", "Note": "a b" });
        let table: [&[u8]; 6] = [
            br#"{"PowerState":"On","Note":"a b"}"#,
            b"{\"PowerState\":\"On\",\"Note\":\"a\rb\"}",
            b"\xef\xbb\xbf{\"PowerState\":\"On\",\"Note\":\"a b\"}",
            b"{\"PowerState\":\"On\",\"Note\":\"a b\"}\0\0",
            b"{\"PowerState\":\"Off\",\"Note\":\"a\x1bb\",\"PowerState\":\"On\"}",
            b"{\r\n\t\"PowerState\":\"On\",\x0b\"Note\":\"a\x00b\"}\n",
        ];
        for bytes in table {
            assert_eq!(parse(bytes).unwrap(), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(b"{\"A\":\"x\xff\"}").unwrap(), json!({ "A": "x\u{fffd}" }));
    }

    #[test]
    fn refuses_what_is_no_json() {
        for bytes in [&b""[..], b"\0", b"<html>", b"{", b"{} {}", b"\xff\xfe{\0}\0"] {
            assert!(parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
