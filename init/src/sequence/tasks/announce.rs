//! Starts the watch that shows the `API:` line and the pairing code as soon as there is something to show.

use crate::announce;
use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        tokio::spawn(announce::keep_shown(context));
        Ok(())
    })
}
