//! Ends the DHCP client, so that nothing more is sent.

use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let network = context.facts().network.take();
        if let Some(network) = network {
            network.stop();
        }
        Ok(())
    })
}
