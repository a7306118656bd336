//! One download, without I/O: packets and time go in, packets come out.
//!
//! ```text
//!   start ──options?──▶ OfferedOptions ──ACK 0──▶ Sending ──last block acknowledged──▶ done
//!     └───────────no options──────────────────────▶ ▲ └─ ACK, timeout: (re)send the window
//!   any state: ERROR from the client, or too many timeouts ──▶ done
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::{self, DEFAULT_BLOCK_SIZE, Mode, ReadRequest};

/// Largest block: an Ethernet MTU of 1500 less IP (20), UDP (8) and TFTP (4) headers; larger
/// blocks would be IP fragments, which firmware reassembles badly or not at all.
pub const MAX_BLOCK_SIZE: u16 = 1468;
/// Largest window in blocks: about 94 kB in flight, below the usual 208 kB socket buffer.
pub const MAX_WINDOW_SIZE: u16 = 64;
/// First wait for an acknowledgement; a LAN answers in milliseconds, slow firmware within this.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Unanswered repeats before the client counts as gone; with the wait above about six seconds.
const MAX_RETRIES: u32 = 5;

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
    /// Send these datagrams, maybe none.
    Send(Vec<Bytes>),
    /// Forget the transfer.
    End(End),
}

/// State of one download.
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
    /// Starts the download of `file`; returns the first packets too.
    pub fn start(request: &ReadRequest, file: Bytes, now: Instant) -> (Self, Vec<Bytes>) {
        let options = request.options;
        let mut granted = Vec::new();
        let block_size = options.block_size.map(|size| size.min(MAX_BLOCK_SIZE));
        let window = options.window_size.map(|blocks| blocks.min(MAX_WINDOW_SIZE));
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
            block_size: usize::from(block_size.unwrap_or(DEFAULT_BLOCK_SIZE)),
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
                return Step::Send(Vec::new());
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
            return Step::Send(Vec::new());
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
            return Step::Send(Vec::new());
        }
        if self.retries >= MAX_RETRIES {
            return Step::End(End::TimedOut);
        }
        self.retries += 1;
        self.deadline = now + self.retry_after;
        self.sent = self.acknowledged;
        Step::Send(self.fill_window())
    }

    /// The client repeated its request: nothing of the answer reached it.
    pub fn repeat_request(&mut self, now: Instant) -> Step {
        if self.acknowledged > 0 {
            return Step::Send(Vec::new());
        }
        self.deadline = now + self.retry_after;
        self.sent = 0;
        Step::Send(self.fill_window())
    }

    /// Size of the file in octets.
    pub fn file_len(&self) -> usize {
        self.file.len()
    }

    /// Whether any block reached the client.
    pub fn has_progressed(&self) -> bool {
        self.acknowledged > 0
    }

    fn progress(&mut self, now: Instant) -> Step {
        self.retries = 0;
        self.repeated_on_duplicate = false;
        self.deadline = now + self.retry_after;
        if self.acknowledged >= self.block_count() {
            return Step::End(End::Complete);
        }
        Step::Send(self.fill_window())
    }

    /// The same acknowledgement again. With windows it says that the window's first block was
    /// lost, so the window goes out once more, but once only; in lockstep it is ignored, or each
    /// duplicate would double all later traffic (RFC 1123 section 4.2.3.1).
    fn duplicate(&mut self, now: Instant) -> Step {
        if self.window == 1 || self.repeated_on_duplicate {
            return Step::Send(Vec::new());
        }
        self.repeated_on_duplicate = true;
        self.deadline = now + self.retry_after;
        self.sent = self.acknowledged;
        Step::Send(self.fill_window())
    }

    /// A file ends with a block shorter than the block size, maybe an empty one.
    fn block_count(&self) -> u64 {
        (self.file.len() / self.block_size) as u64 + 1
    }

    fn fill_window(&mut self) -> Vec<Bytes> {
        if let Some(offer) = &self.offered {
            return vec![offer.clone()];
        }
        let until = (self.acknowledged + self.window).min(self.block_count());
        let packets = (self.sent..until).map(|index| self.block(index)).collect();
        self.sent = until;
        packets
    }

    fn block(&self, index: u64) -> Bytes {
        let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(self.block_size);
        let start = start.min(self.file.len());
        let end = start.saturating_add(self.block_size).min(self.file.len());
        wire::data(low_bits(index + 1), &self.file[start..end])
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
