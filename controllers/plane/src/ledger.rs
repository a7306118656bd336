//! The ledger's file: one line an entry, appended and flushed, each with its checksum.
//!
//! Duty: what [`bloomery_api::ledger`] says, in a file that no restore of etcd brings back. One process appends (the
//! controllers); others read, and read on when the file grew.
//! Never takes a damaged line in the middle for no line: the ledger is of no use then, and nothing is wiped. Only a last
//! line that was cut off by a power cut is taken for one that was never written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bloomery_api::ledger::{Tombstone, Tombstones};
use bloomery_base::{Replace, sync_directory};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Name of the file in the plane's directory.
pub const FILE: &str = "ledger";
/// The boot services read it too. It holds names, serial numbers and hardware addresses.
const MODE: u32 = 0o644;
/// Octets of a checksum in hexadecimal: half of SHA-256.
const SUM_LEN: usize = 32;
/// Lines for each entry beyond which the file is written anew.
const WASTE: usize = 4;
/// Lines below which it never is.
const FEW: usize = 1024;

/// Why the ledger is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum LedgerError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "failed to understand line {line} of {}: nothing is wiped until the file is put back or, at your own risk, \
         removed",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The ledger of the process that writes it. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    directory: PathBuf,
    file: File,
    lines: usize,
    entries: Arc<Tombstones>,
}

impl Ledger {
    /// Opens the ledger in `directory`, made if there is none; a last line that was cut off is taken away.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join(FILE);
        let failed = |source| LedgerError::Write { path: path.clone(), source };
        let mut file = open(&path).map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|source| LedgerError::Read { path: path.clone(), source })?;
        let mut entries = Tombstones::default();
        let Parsed { whole, lines } = parse(&text, 0, &mut entries).map_err(|line| damaged(&path, line))?;
        if whole < text.len() {
            tracing::warn!(octets = text.len() - whole, "last line of the ledger was cut off: taken away");
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        sync_directory(directory).map_err(failed)?;
        let open = Open { directory: directory.to_owned(), file, lines, entries: Arc::new(entries) };
        Ok(Self(Arc::new(Mutex::new(open))))
    }

    /// What it says.
    pub fn tombstones(&self) -> Arc<Tombstones> {
        Arc::clone(&self.0.lock().entries)
    }

    /// Appends an entry; when this returns it survives a power cut. False when it says nothing new.
    pub fn note(&self, entry: Tombstone) -> Result<bool, LedgerError> {
        let mut open = self.0.lock();
        if open.entries.of(&entry.server).is_some_and(|known| known.says_the_same(&entry)) {
            return Ok(false);
        }
        let failed = |open: &Open, source| LedgerError::Write { path: open.directory.join(FILE), source };
        let end = open.file.metadata().map_err(|source| failed(&open, source))?.len();
        let written = open.file.write_all(line(&entry).as_bytes()).and_then(|()| open.file.sync_data());
        if let Err(source) = written {
            // Half a line in the middle would be damage.
            let _ = open.file.set_len(end);
            return Err(failed(&open, source));
        }
        open.lines += 1;
        Arc::make_mut(&mut open.entries).note(entry);
        if open.lines > FEW.max(open.entries.len() * WASTE) {
            compact(&mut open)?;
        }
        Ok(true)
    }
}

/// Writes the file anew with one line an entry, aside and then in the place of the old one.
fn compact(open: &mut Open) -> Result<(), LedgerError> {
    let path = open.directory.join(FILE);
    let failed = |source| LedgerError::Write { path: path.clone(), source };
    let text: String = open.entries.iter().map(line).collect();
    Replace::with_mode(MODE).write(&path, text.as_bytes()).map_err(failed)?;
    open.file = self::open(&path).map_err(failed)?;
    open.lines = open.entries.len();
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}

fn damaged(path: &Path, line: usize) -> LedgerError {
    LedgerError::Damaged { path: path.to_owned(), line }
}

/// `<checksum> <json>`.
fn line(entry: &Tombstone) -> String {
    // Texts and numbers always have a JSON form.
    let text = serde_json::to_string(entry).unwrap_or_default();
    format!("{} {text}\n", sum(text.as_bytes()))
}

fn sum(text: &[u8]) -> String {
    let mut sum = format!("{:x}", Sha256::digest(text));
    sum.truncate(SUM_LEN);
    sum
}

struct Parsed {
    /// Octets of whole lines.
    whole: usize,
    lines: usize,
}

/// Notes all lines of `text`, which begins after `before` lines; the number of a damaged one as the error. What follows
/// the last line's end was cut off.
fn parse(text: &[u8], before: usize, entries: &mut Tombstones) -> Result<Parsed, usize> {
    let whole = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
    let mut lines = 0;
    for one in text[..whole].split_inclusive(|octet| *octet == b'\n') {
        lines += 1;
        entries.note(entry(one).ok_or(before + lines)?);
    }
    Ok(Parsed { whole, lines })
}

fn entry(line: &[u8]) -> Option<Tombstone> {
    let line = line.strip_suffix(b"\n")?;
    let (found, text) = (line.get(..SUM_LEN)?, line.get(SUM_LEN + 1..)?);
    let is_whole = line.get(SUM_LEN) == Some(&b' ') && found == sum(text).as_bytes();
    is_whole.then(|| serde_json::from_slice(text).ok()).flatten()
}

/// The ledger of a process that reads it.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    seen: Option<Seen>,
    /// Held open, so that no other file gets its inode.
    held: Option<File>,
    entries: Arc<Tombstones>,
}

/// How far the file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    read: u64,
    lines: usize,
}

impl Reader {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE), seen: None, held: None, entries: Arc::default() }
    }

    /// What the file says now. Without a file nothing was ever claimed, unless there was one before.
    pub(crate) fn current(&mut self) -> Result<Arc<Tombstones>, LedgerError> {
        let failed = |path: &Path, source| LedgerError::Read { path: path.to_owned(), source };
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && self.seen.is_none() => {
                return Ok(Arc::clone(&self.entries));
            }
            Err(source) => return Err(failed(&self.path, source)),
        };
        let meta = file.metadata().map_err(|source| failed(&self.path, source))?;
        let goes_on = self.seen.filter(|seen| seen.inode == meta.ino() && seen.read <= meta.len());
        let from = goes_on.unwrap_or(Seen { inode: meta.ino(), read: 0, lines: 0 });
        if goes_on.is_some() && from.read == meta.len() {
            return Ok(Arc::clone(&self.entries));
        }
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(from.read))
            .and_then(|_| file.read_to_end(&mut text))
            .map_err(|source| failed(&self.path, source))?;
        // A file that was written anew holds all that the one before said.
        let mut entries =
            if goes_on.is_some() { Tombstones::clone(&self.entries) } else { Tombstones::default() };
        let Parsed { whole, lines } =
            parse(&text, from.lines, &mut entries).map_err(|line| damaged(&self.path, line))?;
        self.entries = Arc::new(entries);
        self.held = Some(file);
        self.seen = Some(Seen { read: from.read + whole as u64, lines: from.lines + lines, ..from });
        Ok(Arc::clone(&self.entries))
    }
}

#[cfg(test)]
mod tests;
