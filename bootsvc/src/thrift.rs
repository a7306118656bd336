//! Gives back the memory of a burst: a thousand machines that are wiped at once hold a connection each, with tens of
//! kilobytes of buffers, and the heap would keep them for the life of the process.
//!
//! It must never run more often than every few seconds, nor in a thread that answers machines.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Connections that end within this time of each other are one burst.
const PAUSE: Duration = Duration::from_secs(5);

/// Waits for connections to end, until `shutdown`.
pub async fn after_bursts(ended: Arc<Notify>, shutdown: CancellationToken) {
    let bursts = async {
        loop {
            ended.notified().await;
            tokio::time::sleep(PAUSE).await;
            if let Err(error) = tokio::task::spawn_blocking(bloomery_sys::memory::give_back).await {
                tracing::warn!(%error, "failed to give memory back to the kernel");
            }
        }
    };
    shutdown.run_until_cancelled(bursts).await;
}
