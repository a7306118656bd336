//! The loopback interface: every service is asked for its health there.
//!
//! Without it no service gets ready, and each says so.

use crate::context::Context;
use crate::network;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(_context: Context) -> Work {
    Box::pin(async move {
        network::bring_up_loopback().await?;
        Ok(())
    })
}
