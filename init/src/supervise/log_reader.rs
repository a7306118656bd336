//! Reads the log files back: whole lines, bounded, from the end or after a cursor.
//!
//! A cursor names a file by its inode and an offset in it, so that a reader goes on across a turn of the files.

use super::log_file::log_path;
use rustix::fs::OFlags;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

/// One piece. In JSON an octet takes six at most, and one answer to the appliance server has 1 MiB.
pub const MAX_PIECE_BYTES: u64 = 128 << 10;

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    inode: u64,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.inode, self.offset)
    }
}

/// Not `INODE.OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the cursor: it is none that this log gave")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (inode, offset) = text.split_once('.').ok_or(NotACursor)?;
        let number = |text: &str| text.parse().map_err(|_| NotACursor);
        Ok(Self { inode: number(inode)?, offset: number(offset)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With so many of the last lines.
    Last(usize),
    /// After what was read before.
    After(Cursor),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: Vec<u8>,
    pub next: Cursor,
    /// There is more to read now.
    pub more: bool,
    /// Lines after the cursor are gone.
    pub skipped: bool,
}

/// One of a service's two files.
struct Opened {
    file: File,
    inode: u64,
    length: u64,
}

impl Opened {
    /// None where there is no such file.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        // Some are in directories of services, which could make a name stand for any file, or for a pipe.
        let no_links = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(no_links).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Some(Self { file, inode: metadata.ino(), length: metadata.len() }))
    }

    fn read(&mut self, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&self.file).take(most.min(self.length.saturating_sub(offset))).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn has(&self, cursor: Cursor) -> bool {
        self.inode == cursor.inode && cursor.offset <= self.length
    }
}

/// Reads a piece of a service's log. A log that has never been written to is empty.
pub fn read(directory: &Path, service: &str, from: From) -> io::Result<Piece> {
    let path = log_path(directory, service);
    // In this order a turn in between shows one file twice, rather than not at all.
    let current = Opened::open(&path)?;
    let mut former = Opened::open(&path.with_extension("log.1"))?;
    let Some(current) = current.or_else(|| former.take()) else {
        return Ok(Piece { text: Vec::new(), next: Cursor::default(), more: false, skipped: false });
    };
    match from {
        From::Last(lines) => last(former, current, lines),
        From::After(cursor) => after(former, current, cursor),
    }
}

fn last(former: Option<Opened>, mut current: Opened, lines: usize) -> io::Result<Piece> {
    let begin = current.length.saturating_sub(MAX_PIECE_BYTES);
    let mut text = current.read(begin, MAX_PIECE_BYTES)?;
    // The rest of the last line comes with the next piece.
    text.truncate(whole_lines(&text));
    let next = Cursor { inode: current.inode, offset: begin + text.len() as u64 };
    let mut is_cut = begin > 0;
    if begin == 0
        && let Some(mut former) = former.filter(|former| former.inode != current.inode)
    {
        let room = MAX_PIECE_BYTES - text.len() as u64;
        let begin = former.length.saturating_sub(room);
        is_cut = begin > 0;
        let mut both = former.read(begin, room)?;
        both.append(&mut text);
        text = both;
    }
    if is_cut {
        let end_of_first = text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        text.drain(..end_of_first);
    }
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let ends: Vec<usize> = ends.collect();
    let surplus = ends.len().saturating_sub(lines);
    let begin = surplus.checked_sub(1).and_then(|at| ends.get(at)).copied().unwrap_or(0);
    text.drain(..begin);
    Ok(Piece { text, next, more: false, skipped: false })
}

fn after(former: Option<Opened>, mut current: Opened, cursor: Cursor) -> io::Result<Piece> {
    if current.has(cursor) {
        return piece(&mut current, cursor.offset);
    }
    let begin = Cursor { inode: current.inode, offset: 0 };
    if let Some(mut former) = former.filter(|former| former.has(cursor)) {
        let rest = piece(&mut former, cursor.offset)?;
        return Ok(if rest.more {
            rest
        } else {
            // Nothing is added to it any more: an unfinished line goes on in the new file.
            let text = former.read(cursor.offset, MAX_PIECE_BYTES)?;
            Piece { text, next: begin, more: true, skipped: false }
        });
    }
    let skipped = cursor != Cursor::default();
    Ok(Piece { skipped, ..piece(&mut current, 0)? })
}

fn piece(file: &mut Opened, offset: u64) -> io::Result<Piece> {
    let mut text = file.read(offset, MAX_PIECE_BYTES)?;
    let is_full = text.len() as u64 == MAX_PIECE_BYTES;
    let whole = whole_lines(&text);
    // A line without end is cut where the piece ends.
    if whole > 0 || !is_full {
        text.truncate(whole);
    }
    let next = Cursor { inode: file.inode, offset: offset + text.len() as u64 };
    let more = is_full && next.offset < file.length;
    Ok(Piece { text, next, more, skipped: false })
}

/// The length up to the end of the last whole line.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::log_file::LogFile;
    use super::*;
    use tempfile::TempDir;

    fn log(limit: u64) -> (TempDir, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::new(log_path(dir.path(), "x"), limit);
        (dir, log)
    }

    fn text(piece: &Piece) -> &str {
        std::str::from_utf8(&piece.text).unwrap()
    }

    #[test]
    fn begins_with_the_last_lines_and_goes_on_after_them() {
        let (dir, mut log) = log(1 << 20);
        let empty = read(dir.path(), "x", From::Last(2)).unwrap();
        assert_eq!((text(&empty), empty.more, empty.skipped), ("", false, false));
        log.write(b"one\ntwo\nthree\nfou").unwrap();
        let piece = read(dir.path(), "x", From::Last(2)).unwrap();
        assert_eq!((text(&piece), piece.more), ("two\nthree\n", false));
        assert_eq!(text(&read(dir.path(), "x", From::Last(0)).unwrap()), "");
        assert_eq!(text(&read(dir.path(), "x", From::Last(9)).unwrap()), "one\ntwo\nthree\n");
        log.write(b"r\nfive\n").unwrap();
        let piece = read(dir.path(), "x", From::After(piece.next)).unwrap();
        assert_eq!(text(&piece), "four\nfive\n");
        let nothing = read(dir.path(), "x", From::After(piece.next)).unwrap();
        assert_eq!((text(&nothing), nothing.next), ("", piece.next));
        // One that began before there was a log has missed nothing.
        let all = read(dir.path(), "x", From::After(empty.next)).unwrap();
        assert_eq!((text(&all), all.skipped), ("one\ntwo\nthree\nfour\nfive\n", false));
    }

    #[test]
    fn no_line_is_lost_at_the_turn_and_a_second_turn_is_said() {
        let (dir, mut log) = log(40);
        log.write(b"line 1\nline 2\n").unwrap();
        let mut piece = read(dir.path(), "x", From::Last(1)).unwrap();
        for number in 3..8 {
            log.write(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert!(dir.path().join("x.log.1").exists());
        let old = piece.next;
        let mut seen = text(&piece).to_owned();
        for _ in 0..3 {
            piece = read(dir.path(), "x", From::After(piece.next)).unwrap();
            assert!(!piece.skipped);
            seen += text(&piece);
        }
        assert_eq!(seen, "line 2\nline 3\nline 4\nline 5\nline 6\nline 7\n");
        assert_eq!(text(&read(dir.path(), "x", From::Last(3)).unwrap()), "line 5\nline 6\nline 7\n");
        // Kept open: its inode must not be given to a new file.
        let _former = File::open(dir.path().join("x.log.1")).unwrap();
        let _current = File::open(dir.path().join("x.log")).unwrap();
        for number in 8..20 {
            log.write(format!("line {number}\n").as_bytes()).unwrap();
        }
        let piece = read(dir.path(), "x", From::After(old)).unwrap();
        assert!(piece.skipped && text(&piece).ends_with("line 19\n"), "{piece:?}");
    }

    #[test]
    fn pieces_are_bounded_and_end_with_a_line_where_there_is_one() {
        let (dir, mut log) = log(4 << 20);
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..300 {
            log.write(line.as_bytes()).unwrap();
        }
        let last = read(dir.path(), "x", From::Last(usize::MAX)).unwrap();
        assert!(last.text.len() as u64 <= MAX_PIECE_BYTES && last.text.len().is_multiple_of(1000));
        let (mut from, mut pieces, mut total) = (From::After(Cursor::default()), 0, 0);
        loop {
            let piece = read(dir.path(), "x", from).unwrap();
            assert!(piece.text.len() as u64 <= MAX_PIECE_BYTES && piece.text.len().is_multiple_of(1000));
            (pieces, total, from) = (pieces + 1, total + piece.text.len(), From::After(piece.next));
            if !piece.more {
                break;
            }
        }
        assert_eq!((pieces, total), (3, 300_000));
        log.write(&vec![b'y'; 300_000]).unwrap();
        let piece = read(dir.path(), "x", from).unwrap();
        assert_eq!((piece.text.len() as u64, piece.more), (MAX_PIECE_BYTES, true), "a line without end");
    }

    #[test]
    fn cursors_are_read_strictly() {
        let cursor = Cursor { inode: 12, offset: 345 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", ".", "1", "1.", "1.x", "-1.2", "1.2.3", "99999999999999999999.1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
        }
        let (dir, mut log) = log(100);
        log.write(b"a\n").unwrap();
        let beyond = Cursor { offset: u64::MAX, ..read(dir.path(), "x", From::Last(1)).unwrap().next };
        let piece = read(dir.path(), "x", From::After(beyond)).unwrap();
        assert!(piece.skipped && text(&piece) == "a\n");
    }
}
