//! Keeps a service running: restarts it with growing delay, whatever ends it, a panic included.
//!
//! It never ends the process, and never restarts in a tight loop.

use std::error::Error;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::health::{Part, State};

/// Delays before a restart: a freed port or a repaired interface is in use again within the longest.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// A run this long counts as success, so the next delay is the first again.
const STABLE_AFTER: Duration = Duration::from_mins(1);

fn delays() -> ExponentialBackoff {
    let delays = ExponentialBuilder::default().with_min_delay(FIRST_DELAY).with_max_delay(MAX_DELAY);
    delays.without_max_times().build()
}

/// Runs `service` until `shutdown`. It gets the part to report itself up once it does its work.
pub async fn keep_running<F, R, E>(part: Part, shutdown: CancellationToken, mut service: F)
where
    F: FnMut(std::sync::Arc<Part>) -> R,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: Error + Send + 'static,
{
    let part = std::sync::Arc::new(part);
    let mut waits = delays();
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        // An own task, so that a panic ends only this run.
        let run = AbortOnDropHandle::new(tokio::spawn(service(part.clone())));
        let why = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = run => match ended {
                Ok(Ok(())) => "service ended".to_owned(),
                Ok(Err(error)) => bloomery_base::chain(&error),
                Err(join) => join.to_string(),
            },
        };
        if started.elapsed() >= STABLE_AFTER {
            waits = delays();
        }
        // The same failure again is not worth a line each time.
        if part.set(State::Down(why.clone())) {
            tracing::warn!(service = part.name(), error = why, "service down, will be retried");
        }
        let wait = waits.next().unwrap_or(MAX_DELAY);
        shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, Weight};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Debug, thiserror::Error)]
    #[error("failed to bind")]
    struct Failed;

    #[tokio::test]
    async fn restarts_after_errors_and_panics_with_growing_delay() {
        let health = Health::default();
        let shutdown = CancellationToken::new();
        let runs = Arc::new(AtomicU32::new(0));
        let (counter, stop) = (runs.clone(), shutdown.clone());
        let started = Instant::now();
        keep_running(health.register("x", Weight::Required), shutdown.clone(), move |_part| {
            let run = counter.fetch_add(1, Ordering::SeqCst);
            let stop = stop.clone();
            async move {
                match run {
                    0 => Err(Failed),
                    1 => panic!("on purpose"),
                    2 => Ok(()),
                    _ => {
                        stop.cancel();
                        std::future::pending().await
                    }
                }
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        // 200 ms, 400 ms and 800 ms of delay between four runs.
        assert!(started.elapsed() >= FIRST_DELAY * 7, "{:?}", started.elapsed());
    }
}
