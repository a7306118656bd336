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

    pub fn len(&self) -> usize {
        self.seen.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}
