//! Serial consoles: the file that QEMU writes, read live.
//!
//! A console is only ever read; what a line means is the caller's business.

use crate::patience::{Impatient, POLL, scaled};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Lines shown when something fails: a screen's worth.
const TAIL_LINES: usize = 25;
/// Bytes read back for the tail; kernel lines are at most a few hundred bytes long.
const TAIL_BYTES: u64 = 16 * 1024;

/// The console of one machine, from its last power-on.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
    /// Offset in the file where the last power-on began.
    start: u64,
}

impl Console {
    /// The console in `path`, from the file's present end on: call it just before power-on.
    pub fn from_now(path: &Path) -> Self {
        let start = std::fs::metadata(path).map_or(0, |meta| meta.len());
        Self { path: path.to_owned(), start }
    }

    /// The console in `path` from its first line on.
    pub fn whole(path: &Path) -> Self {
        Self { path: path.to_owned(), start: 0 }
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reader of all lines since power-on, those to come included.
    pub fn follow(&self) -> Follower {
        Follower { path: self.path.clone(), offset: self.start, partial: Vec::new() }
    }

    /// The first line since power-on that contains `wanted`, or `None` when there is none yet.
    pub fn find(&self, wanted: &str) -> Option<String> {
        self.follow().lines().into_iter().find(|line| line.contains(wanted))
    }

    /// Waits for a line that contains `wanted`, at most `limit` scaled by `PATIENCE`.
    ///
    /// # Errors
    /// [`Impatient`] with the console's last lines.
    pub async fn wait_for(&self, wanted: &str, limit: Duration) -> Result<String, Impatient> {
        let started = Instant::now();
        let limit = scaled(limit);
        let mut follower = self.follow();
        loop {
            if let Some(line) = follower.lines().into_iter().find(|line| line.contains(wanted)) {
                return Ok(line);
            }
            if started.elapsed() >= limit {
                return Err(Impatient {
                    condition: format!("console line {wanted:?} in {}", self.path.display()),
                    elapsed: started.elapsed(),
                    last: String::new(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last lines, for people.
    pub fn tail(&self) -> Vec<String> {
        let length = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let offset = self.start.max(length.saturating_sub(TAIL_BYTES));
        let mut follower = Follower { path: self.path.clone(), offset, partial: Vec::new() };
        let mut lines = follower.lines();
        lines.extend(follower.unfinished());
        lines.retain(|line| !line.trim().is_empty());
        lines.split_off(lines.len().saturating_sub(TAIL_LINES))
    }
}

/// Reads a growing console file line by line.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl Follower {
    /// The complete lines that came since the last call, without terminal escapes. A file that is not there (yet)
    /// has no lines.
    pub fn lines(&mut self) -> Vec<String> {
        let mut fresh = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut fresh)
        });
        self.offset += read.unwrap_or(0) as u64;
        self.partial.append(&mut fresh);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        complete[..end].split(|byte| *byte == b'\n').map(plain_text).collect()
    }

    /// The line that is still being written, if any (a prompt, for example).
    pub fn unfinished(&self) -> Option<String> {
        (!self.partial.is_empty()).then(|| plain_text(&self.partial))
    }
}

/// A console line as text: escape sequences (ECMA-48 CSI and two-byte ones) and control characters dropped.
fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // CSI ends with a byte from '@' to '~'; other sequences are one byte long.
                if chars.next() == Some('[') {
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn escapes_and_carriage_returns_are_dropped() {
        for (raw, want) in [
            ("plain\r", "plain"),
            ("\u{1b}[2J\u{1b}[01;01H\u{1b}[=3hBdsDxe: loading", "BdsDxe: loading"),
            ("\u{1b}c\u{1b}[?7lSeaBIOS", "SeaBIOS"),
            ("cut \u{1b}[3", "cut "),
            ("a\tb\u{7}", "a b"),
        ] {
            assert_eq!(plain_text(raw.as_bytes()), want, "{raw:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_control_character_reaches_the_terminal(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            proptest::prop_assert!(!plain_text(&bytes).chars().any(char::is_control));
        }
    }

    #[test]
    fn follower_gives_each_complete_line_once() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut follower = Console::whole(file.path()).follow();
        assert!(follower.lines().is_empty());
        file.write_all(b"one\r\ntw").expect("a write");
        assert_eq!(follower.lines(), ["one"]);
        assert_eq!(follower.unfinished().as_deref(), Some("tw"));
        file.write_all(b"o\n\nthree\n").expect("a write");
        assert_eq!(follower.lines(), ["two", "", "three"]);
        assert!(follower.lines().is_empty());
    }

    #[tokio::test]
    async fn lines_before_power_on_do_not_count() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"login:\n").expect("a write");
        let console = Console::from_now(file.path());
        assert_eq!(console.find("login:"), None);
        file.write_all(b"second boot\npanic").expect("a write");
        let error =
            console.wait_for("login:", Duration::ZERO).await.expect_err("no such line since power-on");
        assert_eq!(error.tail, ["second boot", "panic"]);
    }
}
