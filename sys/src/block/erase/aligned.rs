//! Memory that `O_DIRECT` takes. It is never larger than a piece: there may be a hundred disks.

/// Bytes of one request.
pub(super) const PIECE: usize = 1 << 20;
/// At least the sector of any disk, and the page of any machine that this runs on.
const ALIGNMENT: usize = 4096;

/// Zeroes for all disks together: never written, so they take no memory.
#[repr(align(4096))]
pub(super) struct Zeroes([u8; PIECE]);

pub(super) static ZEROES: Zeroes = Zeroes([0; PIECE]);

impl Zeroes {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A buffer to read into.
pub(super) struct Buffer {
    memory: Vec<u8>,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; PIECE + ALIGNMENT] }
    }

    /// The first `length` bytes (at most a piece) from an aligned address on.
    pub(super) fn bytes(&mut self, length: usize) -> &mut [u8] {
        let skip = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.memory[skip..skip + length.min(PIECE)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_as_long_as_asked() {
        let mut buffer = Buffer::new();
        for length in [1, 512, PIECE, PIECE + 1] {
            let bytes = buffer.bytes(length);
            assert_eq!(bytes.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(bytes.len(), length.min(PIECE));
        }
        assert_eq!(ZEROES.bytes().as_ptr() as usize % ALIGNMENT, 0);
    }
}
