//! Waiting: every limit of the lab is scaled by the environment variable `PATIENCE`.
//!
//! Nothing here decides what to wait for, and nothing waits without a limit.

use std::{fmt, time::Duration};

/// Pause between two looks at a condition: short beside anything a virtual machine does.
pub const POLL: Duration = Duration::from_millis(200);
/// What the last look at a condition may take at least: a request or two.
pub const LAST_LOOK: Duration = Duration::from_secs(5);

/// The factor by which every limit is stretched: `PATIENCE`, a number above zero, 1 when unset or unreadable.
pub fn patience() -> f64 {
    parse_patience(std::env::var("PATIENCE").ok().as_deref())
}

fn parse_patience(value: Option<&str>) -> f64 {
    value
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|n| n.is_finite() && *n > 0.0)
        .unwrap_or(1.0)
}

/// `limit` stretched by [`patience`].
pub fn scaled(limit: Duration) -> Duration {
    limit.mul_f64(patience())
}

/// A condition that did not come true in time.
#[derive(Debug, thiserror::Error)]
pub struct Impatient {
    /// What was waited for, in the words of the caller.
    pub condition: String,
    /// How long it was waited for.
    pub elapsed: Duration,
    /// The last value or error seen, as text.
    pub last: String,
    /// The end of a console, when one was given.
    pub tail: Vec<String>,
}

impl fmt::Display for Impatient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} did not happen within {:.1} s", self.condition, self.elapsed.as_secs_f64())?;
        if !self.last.is_empty() {
            write!(out, "; last seen: {}", self.last)?;
        }
        for line in &self.tail {
            write!(out, "\n  | {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_positive_number_or_one() {
        for (given, want) in [
            (None, 1.0),
            (Some("3"), 3.0),
            (Some(" 0.5 "), 0.5),
            (Some("0"), 1.0),
            (Some("-2"), 1.0),
            (Some("much"), 1.0),
            (Some("inf"), 1.0),
        ] {
            assert!((parse_patience(given) - want).abs() < f64::EPSILON, "{given:?}");
        }
    }
}
