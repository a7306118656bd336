//! What a look needs of a disk: to be read, at any place, within its bounds.
//!
//! It must never be able to do anything else, and never ask for a byte outside of the disk.

use std::io;
use std::ops::Range;

use bloomery_sys::block::read::Reader;

/// Both ends of a volume are held in memory up to this much each; every mark but the copies lies there.
pub(super) const WINDOW: u64 = 1 << 20;

/// Something that can be read.
pub trait ReadAt {
    /// Bytes.
    fn size(&self) -> u64;
    /// Bytes of a logical sector.
    fn sector(&self) -> u64;
    /// Fills the buffer from this byte on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for Reader {
    fn size(&self) -> u64 {
        self.size()
    }
    fn sector(&self) -> u64 {
        self.sector()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

/// A part of a disk, as a disk of its own.
#[derive(Clone, Copy)]
pub(super) struct Part<'disk> {
    disk: &'disk dyn ReadAt,
    start: u64,
    size: u64,
}

impl<'disk> Part<'disk> {
    /// The range, cut where the disk ends; none if nothing of it is on the disk.
    pub(super) fn of(disk: &'disk dyn ReadAt, range: &Range<u64>) -> Option<Self> {
        let end = range.end.min(disk.size());
        (range.start < end).then(|| Self { disk, start: range.start, size: end - range.start })
    }
}

impl ReadAt for Part<'_> {
    fn size(&self) -> u64 {
        self.size
    }
    fn sector(&self) -> u64 {
        self.disk.sector()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = u64::try_from(buffer.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read_at(self.start + offset, buffer)
    }
}

/// Both ends of a volume as they were read; they overlap in a small one.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Bytes of the whole volume.
    pub(super) size: u64,
    /// From the first byte on.
    pub(super) head: Vec<u8>,
    /// Up to the last byte.
    pub(super) tail: Vec<u8>,
}

impl Ends {
    /// So many bytes at `offset` of the volume, if they lie in one of the ends.
    pub(super) fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let slice = |bytes: &'_ [u8], start: u64| -> Option<Range<usize>> {
            let from = usize::try_from(offset.checked_sub(start)?).ok()?;
            let range = from..from.checked_add(length)?;
            (range.end <= bytes.len()).then_some(range)
        };
        if let Some(range) = slice(&self.head, 0) {
            return self.head.get(range);
        }
        let start = self.size.checked_sub(u64::try_from(self.tail.len()).ok()?)?;
        self.tail.get(slice(&self.tail, start)?)
    }

    /// Whether these bytes are there.
    pub(super) fn has(&self, offset: u64, magic: &[u8]) -> bool {
        self.get(offset, magic.len()) == Some(magic)
    }

    /// A number in the byte order of Intel's processors.
    pub(super) fn u32(&self, offset: u64) -> Option<u32> {
        self.get(offset, 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
}
