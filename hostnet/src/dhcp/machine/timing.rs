//! When to repeat a request.
//!
//! It must never give a wait of zero: a client that hammers a server is worse than none.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;

/// Retransmission times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Wait after the first DISCOVER or REQUEST; it doubles from there (RFC 2131 §4.1: 4 s).
    pub first_wait: Duration,
    /// The wait's bound. RFC 2131 §4.1 allows 64 s; half of it finds a server that was just plugged in sooner.
    pub longest_wait: Duration,
    /// Each wait is off by up to this, so that machines that were switched on together drift apart (§4.1: 1 s).
    pub jitter: Duration,
    /// REQUESTs to a server that offered and then fell silent, before starting over (§3.1.5: four).
    pub request_tries: u32,
    /// Shortest wait between two requests to extend a lease (§4.4.5: 60 s).
    pub shortest_extension_wait: Duration,
    /// Silence after which it is worth telling.
    pub notice: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(4),
            longest_wait: Duration::from_secs(32),
            jitter: Duration::from_secs(1),
            request_tries: 4,
            shortest_extension_wait: Duration::from_mins(1),
            notice: Duration::from_secs(10),
        }
    }
}

/// No timer is shorter than this, whatever the settings say.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// An extension that has no end (a lease for ever, checked after the carrier came back) is repeated this often.
const ENDLESS_EXTENSION_WAIT: Duration = Duration::from_mins(10);

impl Timing {
    /// The wait after packet number `sent` (from 0) of an exchange.
    pub(super) fn backoff(&self, sent: u32, random: &mut StdRng) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(sent.min(16)).unwrap_or(u32::MAX));
        let jitter = self.jitter.mul_f64(random.random_range(0.0..=2.0));
        (doubled.min(self.longest_wait) + jitter).saturating_sub(self.jitter).max(SHORTEST_WAIT)
    }

    /// The wait after this many refusals in a row: 1, 2, 4 … times a quarter of the first wait.
    pub(super) fn after_refusals(&self, refusals: u32) -> Duration {
        let doublings = refusals.saturating_sub(1).min(16);
        (self.first_wait / 4).saturating_mul(1 << doublings).min(self.longest_wait).max(SHORTEST_WAIT)
    }

    /// Half of what remains, at least the shortest wait.
    pub(super) fn until_next_extension(&self, remaining: Option<Duration>) -> Duration {
        let half = remaining.map_or(ENDLESS_EXTENSION_WAIT, |remaining| remaining / 2);
        half.max(self.shortest_extension_wait).max(SHORTEST_WAIT)
    }
}

/// One transaction: a question, repeated until it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    pub(super) xid: u32,
    pub(super) started: Instant,
    pub(super) last_sent: Instant,
    /// When to send (again).
    pub(super) next: Instant,
    /// Packets sent.
    pub(super) sent: u32,
}

impl Exchange {
    /// A new transaction whose first packet is due now.
    pub(super) fn start(now: Instant, random: &mut StdRng) -> Self {
        Self { xid: random.random(), started: now, last_sent: now, next: now, sent: 0 }
    }

    /// The `secs` field.
    pub(super) fn elapsed_seconds(&self, now: Instant) -> u16 {
        u16::try_from(now.saturating_duration_since(self.started).as_secs()).unwrap_or(u16::MAX)
    }
}
