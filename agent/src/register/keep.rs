//! Registering for ever: at once, again with growing waits after failures, and slowly after success.
//!
//! It must never stop, and must read the machine anew each time, so that changed hardware is noticed.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bloomery_sys::power::Action;
use tokio::sync::mpsc;

use super::register;
use crate::inventory::Inventory;
use crate::orders::{Answer, Orders};
use crate::plane::{Error, Plane};

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
        error: Error,
        /// Failures in a row.
        attempt: u32,
        /// When the next try follows.
        retry_in: Duration,
    },
}

/// What becomes of the registration after an answer was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The plane is asked again after its time.
    Rest,
    /// It is asked again soon: what it wants has changed.
    Soon,
    End(Action),
}

/// Who follows the plane's orders. Nothing is asked of the plane meanwhile.
pub trait Act {
    /// Follows one answer, given to a machine that looked like this.
    fn act(&mut self, inventory: Inventory, orders: Orders) -> impl Future<Output = After> + Send;
}

/// Registers again and again, until an order ends the machine's run or the receiver of `reports` is gone (`None`).
/// `hostname` and `read` are asked every time.
pub async fn keep_registered<R, F>(
    plane: &Plane,
    pace: Pace,
    hostname: impl Fn() -> String,
    read: R,
    reports: mpsc::Sender<Report>,
    act: &mut impl Act,
) -> Option<Action>
where
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
        let wait = match register(plane, &hostname(), &inventory).await {
            Ok(orders) => {
                (backoff, attempt) = (waits.build(), 0);
                let report = Report::Registered {
                    inventory: Box::new(inventory.clone()),
                    answer: orders.answer.clone(),
                };
                reports.send(report).await.ok()?;
                match act.act(inventory, orders).await {
                    After::Rest => pace.repeat,
                    After::Soon => pace.longest_retry.min(pace.repeat),
                    After::End(action) => return Some(action),
                }
            }
            Err(error) => {
                attempt = attempt.saturating_add(1);
                let retry_in = backoff.next().unwrap_or(pace.longest_retry);
                reports.send(Report::Failed { error, attempt, retry_in }).await.ok()?;
                retry_in
            }
        };
        tokio::time::sleep(wait).await;
    }
}
