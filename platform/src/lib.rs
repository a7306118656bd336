//! What every program needs that works on a Kubernetes API: the client, watches, events, health, conditional writes, errors on
//! one line. It knows no machine and no kind of the product.

pub mod client;
mod errors;
pub mod events;
pub mod health;
pub mod patch;
pub mod program;
pub mod targets;
pub mod watch;

pub use errors::chain;

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Delays between tries that double up to the longest, with some chance in each, and have no end.
pub fn growing(first: Duration, longest: Duration) -> ExponentialBackoff {
    let delays = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
    delays.with_jitter().without_max_times().build()
}
