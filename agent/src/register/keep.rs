//! Registering for ever: at once, again with growing waits after failures, and slowly after success.
//!
//! It must never stop, and must read the machine anew each time, so that changed hardware is noticed.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::mpsc;

use super::{Answer, Error, register};
use crate::inventory::Inventory;

/// How often the plane is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Wait after the first failure; it doubles, with jitter, since many machines may wait for one plane.
    pub first_retry: Duration,
    /// The bound of that wait.
    pub longest_retry: Duration,
    /// Wait after success: an accepted machine or a pulled disk is noticed this late.
    pub repeat: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(30),
            repeat: Duration::from_mins(1),
        }
    }
}

/// What a round came to.
#[derive(Debug)]
pub enum Report {
    /// The plane knows the machine.
    Registered {
        /// What it was told.
        inventory: Box<Inventory>,
        /// What it said.
        answer: Answer,
    },
    /// It was not possible.
    Failed {
        /// Why.
        error: Error,
        /// Failures in a row.
        attempt: u32,
        /// When the next try follows.
        retry_in: Duration,
    },
}

/// Registers again and again until the receiver of `reports` is gone. `hostname` and `read` are asked every time.
pub async fn keep_registered<R, F>(
    endpoint: &str,
    pace: Pace,
    hostname: impl Fn() -> String,
    read: R,
    reports: mpsc::Sender<Report>,
) where
    R: Fn() -> F,
    F: Future<Output = Inventory>,
{
    let waits = ExponentialBuilder::default()
        .with_min_delay(pace.first_retry)
        .with_max_delay(pace.longest_retry)
        .with_jitter()
        .without_max_times();
    let (mut backoff, mut attempt) = (waits.build(), 0_u32);
    loop {
        let inventory = read().await;
        let (report, wait) = match register(endpoint, &hostname(), &inventory).await {
            Ok(answer) => {
                (backoff, attempt) = (waits.build(), 0);
                (Report::Registered { inventory: Box::new(inventory), answer }, pace.repeat)
            }
            Err(error) => {
                attempt = attempt.saturating_add(1);
                let retry_in = backoff.next().unwrap_or(pace.longest_retry);
                (Report::Failed { error, attempt, retry_in }, retry_in)
            }
        };
        if reports.send(report).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}
