//! From the octets of a connection to lines for people: JSON objects, one after the other.
//!
//! Sans-IO. Nothing that a node sends reaches a terminal as a command, and no object is longer than [`LONGEST_OBJECT`].

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

/// Octets of one object; the kernel's longest message has 1 KiB.
pub const LONGEST_OBJECT: usize = 32 << 10;
/// Octets of one line that are kept.
const LONGEST_LINE: usize = 4 << 10;
/// Octets of a name or time.
const LONGEST_WORD: usize = 64;

/// Why a connection is not read any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to find the end of an object within {LONGEST_OBJECT} octets")]
    TooLong,
    #[error("failed to read a JSON object")]
    NoObject,
}

/// What of a connection was read and is no whole object yet.
#[derive(Debug, Default)]
pub struct Reader {
    rest: Vec<u8>,
}

impl Reader {
    /// Reads on, and writes a line for each object into `text`. Objects before a fault are written too.
    pub fn read(&mut self, octets: &[u8], now: Timestamp, text: &mut String) -> Result<(), Error> {
        self.rest.extend_from_slice(octets);
        let mut objects = serde_json::Deserializer::from_slice(&self.rest).into_iter::<Map<String, Value>>();
        let mut outcome = Ok(());
        loop {
            match objects.next() {
                Some(Ok(object)) => write_line(text, &object, now),
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => {
                    outcome = Err(Error::NoObject);
                    break;
                }
                None => break,
            }
        }
        let read = objects.byte_offset();
        self.rest.drain(..read);
        if self.rest.len() > LONGEST_OBJECT {
            outcome = outcome.and(Err(Error::TooLong));
        }
        outcome
    }
}

/// `TIME FACILITY.PRIORITY MESSAGE`, or `TIME SERVICE LEVEL MESSAGE` for a service's line.
fn write_line(text: &mut String, object: &Map<String, Value>, now: Timestamp) {
    let word = |key: &str| object.get(key).and_then(Value::as_str).filter(|word| is_word(word));
    let begin = text.len();
    match word("talos-time") {
        Some(time) => text.push_str(time),
        // Writing to a string cannot fail.
        None => drop(write!(text, "{now:.3}")),
    }
    let priority = word("priority").or_else(|| word("talos-level"));
    if let Some(source) = word("talos-service").or_else(|| word("facility")) {
        let _ = write!(text, " {source}");
    }
    if let Some(priority) = priority {
        let separator = if word("talos-service").is_none() && word("facility").is_some() { '.' } else { ' ' };
        let _ = write!(text, "{separator}{priority}");
    }
    text.push(' ');
    let message = object.get("msg").and_then(Value::as_str).unwrap_or_default();
    for letter in message.trim_end().chars() {
        if text.len() - begin > LONGEST_LINE {
            text.push('…');
            break;
        }
        match letter {
            '\n' | '\t' => text.push(' '),
            control if control.is_control() => drop(write!(text, "\\x{:02x}", u32::from(control))),
            letter => text.push(letter),
        }
    }
    text.push('\n');
}

fn is_word(word: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_graphic();
    !word.is_empty() && word.len() <= LONGEST_WORD && word.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KERNEL: &str = r#"{"clock":0,"facility":"kern","msg":"Linux version 7.3.4\n","priority":"notice","seq":0,"talos-level":"info","talos-time":"2026-11-28T23:37:45.638629009Z"}"#;

    fn now() -> Timestamp {
        "2026-11-30T08:00:00Z".parse().unwrap()
    }

    fn lines(octets: &[u8]) -> (String, Result<(), Error>) {
        let (mut reader, mut text) = (Reader::default(), String::new());
        let outcome = reader.read(octets, now(), &mut text);
        (text, outcome)
    }

    #[test]
    fn objects_become_lines() {
        let cases = [
            (KERNEL.to_owned() + "\n", "2026-11-28T23:37:45.638629009Z kern.notice Linux version 7.3.4\n"),
            (
                r#"{"msg":"ready","talos-service":"machined","talos-level":"warn","talos-time":"T"}"#
                    .to_owned(),
                "T machined warn ready\n",
            ),
            (r#"{"msg":"a\u001b[2Jb\tc\nd"}"#.to_owned(), "2026-11-30T08:00:00.000Z a\\x1b[2Jb c d\n"),
            (
                r#"{"msg":"x","talos-time":"a b","facility":"\u001b"}{"msg":7}"#.to_owned(),
                "2026-11-30T08:00:00.000Z x\n2026-11-30T08:00:00.000Z \n",
            ),
            (String::new(), ""),
        ];
        for (octets, expected) in cases {
            assert_eq!(lines(octets.as_bytes()), (expected.to_owned(), Ok(())), "{octets}");
        }
    }

    #[test]
    fn what_is_no_object_or_too_long_ends_the_connection() {
        let good = KERNEL.to_owned();
        for bad in ["7\n", "[]\n", "GET / HTTP/1.1\r\n\r\n", "\"x\"\n", "\u{0}"] {
            let (text, outcome) = lines((good.clone() + "\n" + bad).as_bytes());
            assert_eq!((text.lines().count(), outcome), (1, Err(Error::NoObject)), "{bad:?}");
        }
        let endless = format!("{{\"msg\":\"{}", "a".repeat(LONGEST_OBJECT));
        assert_eq!(lines(endless.as_bytes()).1, Err(Error::TooLong));
        let long = format!("{{\"msg\":\"{}\"}}", "a".repeat(LONGEST_OBJECT - 100));
        let (text, outcome) = lines(long.as_bytes());
        assert!(outcome.is_ok() && text.len() < LONGEST_LINE + 64, "{}", text.len());
    }

    proptest! {
        #[test]
        fn pieces_are_put_together(cuts in proptest::collection::vec(1usize..40, 1..40), repeat in 1usize..5) {
            let whole = (KERNEL.to_owned() + "\n").repeat(repeat);
            let (mut reader, mut text) = (Reader::default(), String::new());
            let mut rest = whole.as_bytes();
            for cut in cuts.into_iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                reader.read(piece, now(), &mut text).unwrap();
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(text.lines().count(), repeat);
        }

        #[test]
        fn no_octets_crash_it_or_are_kept_for_ever(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (mut reader, mut text) = (Reader::default(), String::new());
            let _ = reader.read(&octets, now(), &mut text);
            prop_assert!(reader.rest.len() <= octets.len());
        }

        #[test]
        fn no_message_has_control_characters(message in ".{0,200}") {
            let object = serde_json::json!({ "msg": message, "facility": message }).to_string();
            let (text, outcome) = lines(object.as_bytes());
            prop_assert!(outcome.is_ok() && !text.trim_end_matches('\n').contains(char::is_control), "{:?}", text);
        }
    }
}
