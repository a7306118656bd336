//! Which DHCP events are worth a line in the log: the first of each machine and kind, and of
//! thousands at once only so many. The rest is in the metrics and the trace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bloomery_hostnet::MacAddr;
use parking_lot::Mutex;

/// The same again of the same machine is no news for this long.
const QUIET: Duration = Duration::from_mins(1);
/// Machines remembered; beyond it all are forgotten, which costs some lines again.
const MAX_MACHINES: usize = 4096;
/// Lines in each period.
const MAX_LINES: u32 = 100;
/// A period.
const PERIOD: Duration = Duration::from_secs(5);

/// Remembers what was said lately.
#[derive(Debug, Default)]
pub struct OfferLog(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    said: HashMap<(Option<MacAddr>, &'static str), Instant>,
    period: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl OfferLog {
    /// Whether `what` of the machine deserves a line.
    pub fn is_news(&self, mac: Option<MacAddr>, what: &'static str) -> bool {
        self.0.lock().is_news(mac, what, Instant::now())
    }

    /// Whether a warning about the network itself deserves a line.
    pub fn may_warn(&self) -> bool {
        self.is_news(None, "network")
    }
}

impl Memory {
    fn is_news(&mut self, mac: Option<MacAddr>, what: &'static str, now: Instant) -> bool {
        if let Some(said) = self.said.get(&(mac, what))
            && now.saturating_duration_since(*said) < QUIET
        {
            return false;
        }
        if self.period.is_none_or(|start| now.saturating_duration_since(start) >= PERIOD) {
            if self.dropped > 0 {
                tracing::info!(lines = self.dropped, "dhcp log lines left out");
            }
            (self.period, self.lines, self.dropped) = (Some(now), 0, 0);
        }
        if self.lines >= MAX_LINES {
            self.dropped += 1;
            return false;
        }
        self.lines += 1;
        if self.said.len() >= MAX_MACHINES {
            self.said.clear();
        }
        self.said.insert((mac, what), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_floods_are_left_out() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let mac = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            Some(MacAddr([2, 0, a, b, c, d]))
        };
        assert!(memory.is_news(mac(0), "snp.efi", start));
        assert!(!memory.is_news(mac(0), "snp.efi", start + QUIET / 2));
        assert!(memory.is_news(mac(0), "boot.ipxe", start + QUIET / 2));
        assert!(memory.is_news(mac(0), "snp.efi", start + QUIET));
        let flood = start + QUIET * 2;
        let said = (1..50_000).filter(|&number| memory.is_news(mac(number), "snp.efi", flood)).count();
        assert_eq!(said, MAX_LINES as usize);
        assert!(memory.is_news(mac(60_000), "snp.efi", flood + PERIOD));
        assert!(memory.said.len() <= MAX_MACHINES);
    }
}
