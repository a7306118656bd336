//! What the disks of this machine hold, by reading alone: the evidence that nothing on them is anybody's.
//!
//! It must never write, never call a disk blank that was not read, and never take more than a bounded time and number of
//! octets. What cannot be seen without mounting (files, logical volumes, what is encrypted) is not seen; a name may tell.

use std::collections::BTreeSet;
use std::io;

use bloomery_agent_api::{DiskContents, contents as words};

mod names;
mod signatures;
mod survey;
mod tables;
mod volume;

pub use survey::{Survey, read};
pub use volume::ReadAt;
use volume::{Ends, Part, WINDOW};

use crate::disks::ranges;

/// Disks, their partitions, and tables within these (images of virtual machines).
const DEEPEST: u32 = 2;
/// Volumes of one disk that are looked at, each at both its ends.
const MOST_VOLUMES: usize = 300;
/// After so many failed reads nothing more is asked of a disk: each may take it half a minute.
const MOST_FAILURES: usize = 4;
/// One read.
const PIECE: usize = 256 << 10;

/// Why it is not known what a disk holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read it at byte {at}")]
    Read {
        /// First byte of the request.
        at: u64,
        source: io::Error,
    },
    #[error("failed to read it in time")]
    TooSlow,
    /// A table that was not looked at as a whole.
    #[error("failed to look at all of its partitions: a table is damaged, or there are too many")]
    Partitions,
}

/// What was found on one disk, and what was not looked at.
#[derive(Debug, Default)]
pub struct Findings {
    /// Words of [`bloomery_agent_api::contents`].
    pub found: BTreeSet<&'static str>,
    /// The first thing that went wrong.
    pub error: Option<Error>,
}

impl Findings {
    /// As it goes over the wire.
    pub fn message(&self) -> DiskContents {
        DiskContents {
            read: self.error.is_none(),
            found: self.found.iter().map(|word| (*word).to_owned()).collect(),
            error: self.error.as_ref().map(|error| bloomery_base::chain(error)).unwrap_or_default(),
        }
    }

    /// Whether the disk was read and nothing is on it.
    pub fn is_blank(&self) -> bool {
        self.found.is_empty() && self.error.is_none()
    }
}

/// Looks at a disk: marks at both ends of it and of its partitions, and where none is, whether its ends and samples
/// between them are zero. `jitter` moves the samples; `go_on` is asked before each read.
pub fn look(disk: &dyn ReadAt, jitter: u64, go_on: &dyn Fn() -> bool) -> Findings {
    let mut look = Look { findings: Findings::default(), failures: 0, volumes: 0, go_on };
    look.volume(disk, 0);
    // A disk with something on it is not blank, whatever lies between.
    if look.findings.found.is_empty() && look.has_data(disk, jitter) {
        look.findings.found.insert(words::DATA);
    }
    look.findings
}

struct Look<'a> {
    findings: Findings,
    failures: usize,
    volumes: usize,
    go_on: &'a dyn Fn() -> bool,
}

impl Look<'_> {
    fn volume(&mut self, volume: &dyn ReadAt, depth: u32) {
        if self.volumes >= MOST_VOLUMES {
            return self.fail(Error::Partitions);
        }
        self.volumes += 1;
        let ends = self.ends(volume);
        let mut found = signatures::words(&ends);
        found.extend(self.copies(volume));
        found.extend(names::within(&found, &ends));
        let tables = tables::read(volume, &ends);
        // Below the deepest level a table may be anything.
        if tables.incomplete && depth < DEEPEST {
            self.fail(Error::Partitions);
        }
        found.extend(names::of_table(tables.entries.iter().map(|entry| entry.name.as_str())));
        found.extend(&tables.words);
        for entry in &tables.entries {
            found.extend(entry.word);
            found.extend(names::words(&entry.name));
        }
        self.findings.found.extend(found);
        // Or a hundred disks with nested tables take more memory than a small machine has.
        drop(ends);
        if depth < DEEPEST {
            for part in tables.entries.iter().filter_map(|entry| Part::of(volume, &entry.range)) {
                // A partition that is the whole disk again would be a circle.
                if part.size() < volume.size() {
                    self.volume(&part, depth + 1);
                }
            }
        }
    }

    fn ends(&mut self, volume: &dyn ReadAt) -> Ends {
        let size = volume.size();
        let length = size.min(WINDOW);
        let head = self.read(volume, 0, length);
        let tail = if size > length { self.read(volume, size - length, length) } else { Vec::new() };
        Ends { size, head, tail }
    }

    /// Marks far from both ends.
    fn copies(&mut self, volume: &dyn ReadAt) -> Vec<&'static str> {
        let mut found = Vec::new();
        for row in signatures::COPIES {
            let length = u64::try_from(row.magic.len()).unwrap_or_default();
            if let Some(offset) = row.place.offset(volume.size())
                && offset.checked_add(length).is_some_and(|end| end <= volume.size())
                && self.read(volume, offset, length) == row.magic
            {
                found.push(row.word);
            }
        }
        found
    }

    /// Whether a byte of the ends or of the samples is not zero.
    fn has_data(&mut self, disk: &dyn ReadAt, jitter: u64) -> bool {
        for range in ranges::samples(disk.size(), disk.sector(), jitter) {
            let mut at = range.start;
            while at < range.end {
                let length = (range.end - at).min(WINDOW);
                if !is_zero(&self.read(disk, at, length)) {
                    return true;
                }
                at += length;
            }
        }
        false
    }

    /// These bytes; none at all if one of them cannot be read.
    fn read(&mut self, volume: &dyn ReadAt, at: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let mut offset = at;
        for piece in bytes.chunks_mut(PIECE) {
            if self.failures >= MOST_FAILURES {
                return Vec::new();
            }
            if !(self.go_on)() {
                self.failures = MOST_FAILURES;
                self.fail(Error::TooSlow);
                return Vec::new();
            }
            if let Err(source) = volume.read_at(offset, piece) {
                self.failures += 1;
                self.fail(Error::Read { at: offset, source });
                return Vec::new();
            }
            offset = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        bytes
    }

    fn fail(&mut self, error: Error) {
        self.findings.error.get_or_insert(error);
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Compared by the kernel's way of comparing memory: quick in any build.
    static ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|chunk| ZEROES.starts_with(chunk))
}

#[cfg(test)]
mod tests;
