//! One download, without I/O: packets and time go in, numbers of blocks to send come out.
//! Nothing is copied or allocated for a block: it is a slice of the file.
//!
//! ```text
//!   start ──options?──▶ OfferedOptions ──ACK 0──▶ Sending ──last block acknowledged──▶ done
//!     └───────────no options──────────────────────▶ ▲ └─ ACK: send the window; timeout: resend one block
//!   any state: ERROR from the client, or too many timeouts ──▶ done
//! ```

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::{self, BLOCK_SIZES, DEFAULT_BLOCK_SIZE, Mode, ReadRequest};

/// Headers of a block on the wire: IP (20), UDP (8) and TFTP (4).
pub const HEADERS: u32 = 32;
/// MTU when the path's is not known: Ethernet's.
pub const DEFAULT_MTU: u32 = 1500;
/// Largest window in blocks; the kernel takes as many in one call.
pub const MAX_WINDOW_SIZE: u16 = 64;
/// Largest window to an address that has not proved that it wants it: what firmware asks for. Not one block: EDK2 waits
/// for its whole window, and then repeats the acknowledgement before it.
pub const MAX_UNPROVEN_WINDOW: u16 = 4;
/// Largest window in octets: below the usual 208 kB socket buffer of a client, bookkeeping included.
const MAX_WINDOW_OCTETS: usize = 128 << 10;
/// A packet that the network duplicated comes within this time.
const DUPLICATE_WITHIN: Duration = Duration::from_millis(200);
/// First wait for an acknowledgement; a LAN answers in milliseconds, slow firmware within this.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Unanswered repeats before the client counts as gone; with the wait above about six seconds.
const MAX_RETRIES: u32 = 5;
/// The same while no block was acknowledged: perhaps nobody asked.
const MAX_FIRST_RETRIES: u32 = 3;

#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// Octets of its largest packet.
    pub mtu: u32,
    /// Whether the client is known to be where the request says.
    pub is_proven: bool,
}

/// How a transfer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has all of it.
    Complete,
    /// The client went silent.
    TimedOut,
}

/// What to do after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// Send the option acknowledgement, [`Transfer::offer`].
    Offer,
    /// Send these blocks, see [`Transfer::block`].
    Blocks(Range<u64>),
    /// Forget the transfer.
    End(End),
}

#[derive(Debug)]
pub struct Transfer {
    file: Bytes,
    block_size: usize,
    window: u64,
    retry_after: Duration,
    /// OACK that the client has not acknowledged yet.
    offered: Option<Bytes>,
    /// Blocks the client has; block numbers on the wire are the low 16 bits.
    acknowledged: u64,
    /// Blocks sent at least once.
    sent: u64,
    retries: u32,
    repeated_on_duplicate: bool,
    deadline: Instant,
}

impl Transfer {
    /// Starts the download of `file` over this path; returns the first step too. Blocks
    /// beyond the MTU would be IP fragments, which firmware reassembles badly or not at all.
    pub fn start(request: &ReadRequest, file: Bytes, path: Path, now: Instant) -> (Self, Step) {
        let options = request.options;
        let mut granted = Vec::new();
        let largest = u16::try_from(path.mtu.saturating_sub(HEADERS)).unwrap_or(u16::MAX);
        let largest = largest.clamp(*BLOCK_SIZES.start(), *BLOCK_SIZES.end());
        let block_size = options.block_size.map(|size| size.min(largest));
        let octets = usize::from(block_size.unwrap_or(DEFAULT_BLOCK_SIZE));
        let in_flight = u16::try_from((MAX_WINDOW_OCTETS / octets).max(1)).unwrap_or(u16::MAX);
        let most = if path.is_proven { MAX_WINDOW_SIZE } else { MAX_UNPROVEN_WINDOW };
        let window = options.window_size.map(|blocks| blocks.min(most).min(in_flight));
        let file = if request.mode == Mode::Netascii { netascii(&file) } else { file };
        if let Some(size) = block_size {
            granted.push(("blksize", u64::from(size)));
        }
        if let Some(seconds) = options.timeout {
            granted.push(("timeout", u64::from(seconds)));
        }
        if options.transfer_size {
            granted.push(("tsize", file.len() as u64));
        }
        if let Some(blocks) = window {
            granted.push(("windowsize", u64::from(blocks)));
        }
        let retry_after = options.timeout.map_or(RETRY_AFTER, |seconds| Duration::from_secs(seconds.into()));
        let mut transfer = Self {
            file,
            block_size: octets,
            window: u64::from(window.unwrap_or(1)),
            retry_after,
            offered: (!granted.is_empty()).then(|| wire::option_ack(&granted)),
            acknowledged: 0,
            sent: 0,
            retries: 0,
            repeated_on_duplicate: false,
            deadline: now + retry_after,
        };
        let first = transfer.fill_window();
        (transfer, first)
    }

    /// The client acknowledged `block`.
    pub fn acknowledge(&mut self, block: u16, now: Instant) -> Step {
        if self.offered.is_some() {
            if block != 0 {
                return Step::Wait;
            }
            self.offered = None;
            return self.progress(now);
        }
        // Distance in wire numbers, which wrap at 65,536; beyond what was sent it is a stray.
        let ahead = u64::from(block.wrapping_sub(low_bits(self.acknowledged)));
        if ahead == 0 {
            return self.duplicate(now);
        }
        if self.acknowledged + ahead > self.sent {
            return Step::Wait;
        }
        self.acknowledged += ahead;
        // After an acknowledgement inside the window the client wants the rest of it again
        // (RFC 7440 section 4).
        self.sent = self.acknowledged;
        self.progress(now)
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: Instant) -> Step {
        if now < self.deadline {
            return Step::Wait;
        }
        let most = if self.has_progressed() { MAX_RETRIES } else { MAX_FIRST_RETRIES };
        if self.retries >= most {
            return Step::End(End::TimedOut);
        }
        self.retries += 1;
        self.deadline = now + self.retry_after;
        if self.offered.is_some() {
            return Step::Offer;
        }
        // One block is enough: a client that has it says how far it is, and one that has not takes it.
        Step::Blocks(self.acknowledged..self.acknowledged + 1)
    }

    /// The client repeated its request: nothing of the answer reached it.
    pub fn repeat_request(&mut self, now: Instant) -> Step {
        if self.acknowledged > 0 {
            return Step::Wait;
        }
        self.deadline = now + self.retry_after;
        self.sent = 0;
        self.fill_window()
    }

    /// Whether a request that comes again now is the old one, which the network sent twice. A client that has got
    /// blocks and asks a while later has begun anew.
    pub fn is_repeated_request(&self, age: Duration) -> bool {
        !self.has_progressed() || age < DUPLICATE_WITHIN
    }

    /// Size of the file in octets.
    pub fn file_len(&self) -> usize {
        self.file.len()
    }

    /// Whether any block reached the client.
    pub fn has_progressed(&self) -> bool {
        self.acknowledged > 0
    }

    /// Octets that the client has.
    pub fn octets_acknowledged(&self) -> u64 {
        self.acknowledged.saturating_mul(self.block_size as u64).min(self.file.len() as u64)
    }

    fn progress(&mut self, now: Instant) -> Step {
        self.retries = 0;
        self.repeated_on_duplicate = false;
        self.deadline = now + self.retry_after;
        if self.acknowledged >= self.block_count() {
            return Step::End(End::Complete);
        }
        self.fill_window()
    }

    /// The same acknowledgement again. With windows it says that the window's first block was
    /// lost, so the window goes out once more, but once only; in lockstep it is ignored, or each
    /// duplicate would double all later traffic (RFC 1123 section 4.2.3.1).
    fn duplicate(&mut self, now: Instant) -> Step {
        if self.window == 1 || self.repeated_on_duplicate {
            return Step::Wait;
        }
        self.repeated_on_duplicate = true;
        self.deadline = now + self.retry_after;
        self.sent = self.acknowledged;
        self.fill_window()
    }

    /// A file ends with a block shorter than the block size, maybe an empty one.
    fn block_count(&self) -> u64 {
        (self.file.len() / self.block_size) as u64 + 1
    }

    fn fill_window(&mut self) -> Step {
        if self.offered.is_some() {
            return Step::Offer;
        }
        let until = (self.acknowledged + self.window).min(self.block_count());
        let blocks = self.sent..until;
        self.sent = until;
        if blocks.is_empty() { Step::Wait } else { Step::Blocks(blocks) }
    }

    /// The option acknowledgement, until the client has answered it.
    pub fn offer(&self) -> Option<&[u8]> {
        self.offered.as_deref()
    }

    /// A block, counted from 0: header and content.
    pub fn block(&self, index: u64) -> ([u8; wire::DATA_HEADER_LEN], &[u8]) {
        let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(self.block_size);
        let start = start.min(self.file.len());
        let end = start.saturating_add(self.block_size).min(self.file.len());
        (wire::data_header(low_bits(index + 1)), &self.file[start..end])
    }

    /// Octets of a full block and its header.
    pub fn packet_len(&self) -> usize {
        wire::DATA_HEADER_LEN + self.block_size
    }
}

/// A block's number on the wire.
fn low_bits(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// LF becomes CR LF, a lone CR becomes CR NUL (RFC 764).
fn netascii(file: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(file.len() + file.len() / 32);
    for &octet in file {
        match octet {
            b'\n' => text.extend_from_slice(b"\r\n"),
            b'\r' => text.extend_from_slice(b"\r\0"),
            other => text.push(other),
        }
    }
    Bytes::from(text)
}
