//! The network: started here, kept up in the background for ever.
//!
//! Without an address the control plane starts on loopback; addresses, certificates and the `API:` line follow.

use crate::context::Context;
use crate::network::Network;
use crate::sequence::Work;
use std::time::Duration;

/// A DHCP server that is there answers within this; longer waits are in the background.
const FIRST_ADDRESS: Duration = Duration::from_secs(4);

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let network = Network::start(&context)?;
        context.facts().network = Some(network.clone());
        let mut addresses = network.addresses();
        let first = addresses.wait_for(|addresses| !addresses.is_empty());
        if tokio::time::timeout(FIRST_ADDRESS, first).await.is_err() {
            context.console.line("no address yet; going on with the control plane on loopback meanwhile");
        }
        Ok(())
    })
}
