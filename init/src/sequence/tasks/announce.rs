//! Starts to follow the addresses: certificates keep up with them, and the `API:` line and the pairing code are shown
//! as soon as there is something to show.

use crate::announce;
use crate::certificates;
use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        tokio::spawn(certificates::follow(context.clone()));
        tokio::spawn(announce::keep_shown(context));
        Ok(())
    })
}
