//! The network: started here, kept up in the background for ever.
//!
//! Nobody waits for an address: the control plane starts on loopback, and certificates, the boot services' answers and
//! the `API:` line follow when it comes.

use crate::context::Context;
use crate::network::Network;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let network = Network::start(&context)?;
        context.facts().network = Some(network);
        Ok(())
    })
}
