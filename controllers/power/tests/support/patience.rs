//! Waits for a condition, with a limit scaled by `PATIENCE`; never sleeps for a guess.

use std::time::{Duration, Instant};

/// Limit at PATIENCE=1: Python takes some seconds to start on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// The factor by which limits are stretched.
pub(crate) fn patience() -> f64 {
    let given = std::env::var("PATIENCE").ok().and_then(|text| text.parse::<f64>().ok());
    given.unwrap_or(1.0).max(0.1)
}

/// Looks until `probe` gives a value; panics with what it last said instead.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let limit = LIMIT.mul_f64(patience());
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() > limit => {
                panic!("waited {:?} until {what}; last seen: {last}", started.elapsed());
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
