//! Lines of the audit log: which certificate did what, from where, and how it ended.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong codes get one line in this time, with their number, so that guessing cannot push everything else out of
/// the bounded log.
const WRONG_CODES_INTERVAL: Duration = Duration::from_mins(1);
/// Longest value of a field, in characters.
const MAX_VALUE: usize = 256;

/// One line, without the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    action: String,
    user: String,
    address: String,
    result: String,
}

impl Entry {
    /// An action of a certificate's user from an address, and how it ended.
    pub fn new(action: &str, user: &str, address: &str, result: &str) -> Self {
        let cut = |text: &str| text.chars().take(MAX_VALUE).collect();
        Self { action: cut(action), user: cut(user), address: cut(address), result: cut(result) }
    }
}

/// The fields are quoted: whatever a stranger sends stays in its field and on its line.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, user, address, result } = self;
        write!(f, "action={action:?} user={user:?} address={address:?} result={result:?}")
    }
}

/// Counts wrong codes between two lines about them.
#[derive(Debug, Default)]
pub struct WrongCodes(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    since: u64,
    written: Option<Instant>,
}

impl WrongCodes {
    /// Counts one more; what to write about it, if it is time to.
    pub fn count(&self, now: Instant) -> Option<String> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since += 1;
        if counted.written.is_some_and(|written| now.duration_since(written) < WRONG_CODES_INTERVAL) {
            return None;
        }
        let count = std::mem::take(&mut counted.since);
        counted.written = Some(now);
        Some(if count == 1 {
            "wrong code".to_owned()
        } else {
            format!("wrong code; {count} since the last line")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_write_lines_or_fields_of_its_own() {
        let line = Entry::new("pair", "x\" result=\"ok\"\naction=", "192.0.2.1", "refused").to_string();
        assert_eq!(
            line,
            r#"action="pair" user="x\" result=\"ok\"\naction=" address="192.0.2.1" result="refused""#
        );
        assert!(Entry::new("a", &"u".repeat(5000), "b", "c").to_string().len() < 400);
    }

    #[test]
    fn wrong_codes_are_summed_up() {
        let (codes, start) = (WrongCodes::default(), Instant::now());
        assert_eq!(codes.count(start).as_deref(), Some("wrong code"));
        for second in 0..59 {
            assert_eq!(codes.count(start + Duration::from_secs(second)), None);
        }
        let later = codes.count(start + Duration::from_mins(1));
        assert_eq!(later.as_deref(), Some("wrong code; 60 since the last line"));
    }
}
