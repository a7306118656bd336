//! What was seen lately: so many at most, each for so long.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// When each was seen last. What does not fit is not remembered.
#[derive(Debug)]
pub struct Recent<K> {
    seen: HashMap<K, Instant>,
    most: usize,
    lasts: Duration,
}

impl<K: Eq + Hash> Recent<K> {
    /// At most so many, each for as long as this.
    pub fn new(most: usize, lasts: Duration) -> Self {
        Self { seen: HashMap::new(), most, lasts }
    }

    pub fn note(&mut self, key: K, now: Instant) {
        if self.seen.len() >= self.most && !self.seen.contains_key(&key) {
            let lasts = self.lasts;
            self.seen.retain(|_, when| now.saturating_duration_since(*when) < lasts);
            if self.seen.len() >= self.most {
                return;
            }
        }
        self.seen.insert(key, now);
    }

    pub fn has(&self, key: &K, now: Instant) -> bool {
        self.seen.get(key).is_some_and(|when| now.saturating_duration_since(*when) < self.lasts)
    }

    /// Whether one for which this holds was seen lately.
    pub fn any(&self, now: Instant, holds: impl Fn(&K) -> bool) -> bool {
        let mut seen = self.seen.iter();
        seen.any(|(key, when)| holds(key) && now.saturating_duration_since(*when) < self.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_what_is_old_makes_room() {
        let (lasts, now) = (Duration::from_secs(10), Instant::now());
        let mut recent = Recent::new(4, lasts);
        (0..100).for_each(|number| recent.note(number, now));
        assert_eq!(recent.seen.len(), 4);
        assert!(recent.has(&3, now) && !recent.has(&4, now) && !recent.has(&3, now + lasts));
        // Those that are there already are seen again.
        recent.note(0, now + lasts / 2);
        recent.note(50, now + lasts);
        assert!(recent.has(&0, now + lasts) && recent.has(&50, now + lasts));
        assert_eq!(recent.seen.len(), 2);
        assert!(
            recent.any(now + lasts, |number| *number > 40) && !recent.any(now + lasts, |number| *number == 1)
        );
    }
}
