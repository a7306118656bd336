//! Ends all services, each after those that depend on it, and writes the last of their output.

use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let supervisor = context.facts().supervisor.clone();
        if let Some(supervisor) = supervisor {
            supervisor.stop().await;
        }
        context.logs.flush().await;
        Ok(())
    })
}
