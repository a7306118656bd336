//! Where the machines' logs are: two files for each, `NAME.log` and, before it, `NAME.log.1`; bounded for each machine
//! and in all.
//!
//! Never fills the disk: when all logs together have grown too large, the machines that were silent longest lose theirs.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

/// Octets of one file; then the next one begins.
pub const TURN_OVER_AT: u64 = 512 << 10;
/// Octets of all files, and the part of their file system that they have at most.
const MOST_OCTETS: u64 = 128 << 20;
const PART: u64 = 32;
/// Octets of a name.
const LONGEST_NAME: usize = 64;

/// Why a line is not kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to name the log of {name:?}")]
    Name { name: String },
    #[error("failed to read the directory {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The logs. Clones share them.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    turn_over_at: u64,
    most: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: HashMap<String, Log>,
    clock: u64,
    octets: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Log {
    now: u64,
    before: u64,
    /// When it was written last, counted in writes.
    at: u64,
}

impl Store {
    /// In this directory, with what is there from before.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let list = |source| Error::List { path: directory.to_owned(), source };
        let room = rustix::fs::statvfs(directory).map_err(|error| list(error.into()))?;
        let size = room.f_blocks.saturating_mul(room.f_frsize);
        Self::with_limits(directory, TURN_OVER_AT, MOST_OCTETS.min(size / PART))
    }

    fn with_limits(directory: &Path, turn_over_at: u64, most: u64) -> Result<Self, Error> {
        let mut state = State::default();
        let list = |source| Error::List { path: directory.to_owned(), source };
        let mut found: Vec<(std::time::SystemTime, String, bool, u64)> = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(list)? {
            let entry = entry.map_err(list)?;
            let file = entry.file_name();
            let Some((name, is_now)) = file.to_str().and_then(parse) else { continue };
            let Ok(metadata) = entry.metadata().map(|metadata| (metadata.modified(), metadata.len())) else {
                continue;
            };
            let (modified, length) = metadata;
            found.push((modified.unwrap_or(std::time::UNIX_EPOCH), name.to_owned(), is_now, length));
        }
        found.sort_unstable();
        for (_, name, is_now, length) in found {
            state.clock += 1;
            let log = state.logs.entry(name).or_default();
            *(if is_now { &mut log.now } else { &mut log.before }) = length;
            log.at = state.clock;
            state.octets += length;
        }
        let inner = Inner { directory: directory.to_owned(), turn_over_at, most, state: Mutex::new(state) };
        Ok(Self(Arc::new(inner)))
    }

    /// Adds whole lines to the log of a machine.
    pub fn append(&self, name: &str, text: &str) -> Result<(), Error> {
        if !is_name(name) {
            return Err(Error::Name { name: name.to_owned() });
        }
        let Inner { directory, turn_over_at, most, state } = &*self.0;
        let mut state = state.lock();
        let (path, before) = paths(directory, name);
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut log = state.logs.get(name).copied().unwrap_or_default();
        if log.now > 0 && log.now + text.len() as u64 > *turn_over_at {
            std::fs::rename(&path, &before).map_err(failed)?;
            state.octets -= log.before;
            (log.before, log.now) = (log.now, 0);
        }
        open(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        log.now += text.len() as u64;
        state.octets += text.len() as u64;
        state.clock += 1;
        log.at = state.clock;
        state.logs.insert(name.to_owned(), log);
        while state.octets > *most && forget_oldest(directory, &mut state, name) {}
        Ok(())
    }
}

/// Deletes the log of the machine that was silent longest; not that of `spared`.
fn forget_oldest(directory: &Path, state: &mut State, spared: &str) -> bool {
    let others = state.logs.iter().filter(|(name, _)| *name != spared);
    let Some((name, log)) = others.min_by_key(|(_, log)| log.at) else { return false };
    let (name, log) = (name.clone(), *log);
    let (path, before) = paths(directory, &name);
    for path in [path, before] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "old log not removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
    state.octets -= log.now + log.before;
    state.logs.remove(&name);
    true
}

fn open(path: &Path) -> io::Result<File> {
    // Not through a link, whoever made it.
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)
}

fn paths(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.log")), directory.join(format!("{name}.log.1")))
}

/// The machine of a file, and whether it is the newer one.
fn parse(file: &str) -> Option<(&str, bool)> {
    let newer = file.strip_suffix(".log").map(|name| (name, true));
    newer.or_else(|| file.strip_suffix(".log.1").map(|name| (name, false))).filter(|(name, _)| is_name(name))
}

fn is_name(name: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(directory).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn octets(directory: &Path) -> u64 {
        files(directory).iter().map(|file| directory.join(file).metadata().unwrap().len()).sum()
    }

    #[test]
    fn a_log_turns_over_and_keeps_its_newest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::with_limits(directory.path(), 100, 10_000).unwrap();
        for number in 0..50 {
            store.append("a", &format!("line {number:04}\n")).unwrap();
        }
        assert_eq!(files(directory.path()), ["a.log", "a.log.1"]);
        assert!(octets(directory.path()) <= 200);
        let newest = std::fs::read_to_string(directory.path().join("a.log")).unwrap();
        assert!(newest.ends_with("line 0049\n"), "{newest}");
        let older = std::fs::read_to_string(directory.path().join("a.log.1")).unwrap();
        assert!(older.ends_with('\n') && older.starts_with("line 00"), "{older}");
    }

    #[test]
    fn all_logs_together_are_bounded_and_the_silent_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let line = "x".repeat(49) + "\n";
        let fill = |store: &Store| {
            for name in ["a", "b", "a", "c", "d", "e"] {
                store.append(name, &line).unwrap();
            }
        };
        let store = Store::with_limits(directory.path(), 100, 220).unwrap();
        fill(&store);
        assert_eq!(files(directory.path()), ["c.log", "d.log", "e.log"]);
        // A restart knows what is there.
        drop(store);
        let store = Store::with_limits(directory.path(), 100, 220).unwrap();
        for name in ["f", "g", "h"] {
            store.append(name, &line).unwrap();
        }
        assert!(octets(directory.path()) <= 220 && files(directory.path()).contains(&"h.log".to_owned()));
    }

    #[test]
    fn only_plain_names_are_files_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for name in ["", "..", "a/b", "A", "a.b", &"a".repeat(65)] {
            assert!(matches!(store.append(name, "x\n"), Err(Error::Name { .. })), "{name:?}");
        }
        let other = directory.path().join("other");
        std::fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, directory.path().join("a.log")).unwrap();
        assert!(matches!(store.append("a", "x\n"), Err(Error::Write { .. })));
        assert_eq!(std::fs::read_to_string(other).unwrap(), "");
    }
}
