//! Waits for conditions, with limits scaled by the variable `PATIENCE`. Nothing sleeps for a guess.

use std::time::{Duration, Instant};

/// Limit at PATIENCE=1: the slowest thing waited for is an API server that starts on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// The factor by which limits are stretched: `PATIENCE`, a number above zero; 1 when it is unset.
pub fn patience() -> f64 {
    parse(std::env::var("PATIENCE").ok().as_deref())
}

fn parse(value: Option<&str>) -> f64 {
    let Some(text) = value else { return 1.0 };
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.unwrap_or_else(|| panic!("PATIENCE is {text:?}; write a number above zero"))
}

/// `limit`, stretched by [`patience`].
pub fn scaled(limit: Duration) -> Duration {
    limit.mul_f64(patience())
}

/// Looks until `probe` gives a value; panics with what it said last after a minute.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(LIMIT, what, probe).await
}

/// Looks until `probe` gives a value; panics with what it said last after the limit.
pub async fn within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let (limit, started) = (scaled(limit), Instant::now());
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) => give_up(what, limit, started, &last),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The same where there is no runtime.
#[allow(clippy::disallowed_methods, reason = "the one wait of tests without a runtime, with a limit")]
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let (limit, started) = (scaled(limit), Instant::now());
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) => give_up(what, limit, started, &last),
        }
        std::thread::sleep(INTERVAL);
    }
}

fn give_up(what: &str, limit: Duration, started: Instant, last: &str) {
    let elapsed = started.elapsed();
    assert!(elapsed < limit, "waited {elapsed:?} until {what}; last seen: {last}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_number_above_zero() {
        for (given, want) in [(None, 1.0), (Some("3"), 3.0), (Some(" 0.5 "), 0.5)] {
            assert!((parse(given) - want).abs() < f64::EPSILON, "{given:?}");
        }
        for refused in ["0", "-2", "much", "inf"] {
            assert!(std::panic::catch_unwind(|| parse(Some(refused))).is_err(), "{refused:?}");
        }
    }

    #[tokio::test]
    #[should_panic(expected = "until the moon is blue; last seen: it is grey")]
    async fn a_failure_says_the_condition_and_what_was_seen_last() {
        within(Duration::ZERO, "the moon is blue", async || Err::<(), _>("it is grey".to_owned())).await;
    }
}
