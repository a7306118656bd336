//! The clock: never before the image was built, and right as soon as a time server can be reached.
//!
//! In a container the clock is the host's.

use crate::clock;
use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        if context.container {
            return Ok(());
        }
        let moved = bloomery_sys::clock::ensure_not_before(context.release.built)?;
        if moved {
            context.console.line("the clock was before the image's build date; set to that for now");
        }
        tokio::spawn(clock::keep_right(context));
        Ok(())
    })
}
