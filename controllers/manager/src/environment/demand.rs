//! Whether somebody needs the Environments that are fetched on demand: a Server that is noted as a 64-bit ARM machine.
//!
//! Never forgets while the process lives: files that were fetched stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bloomery_api::decision::boot::Arch;
use bloomery_api::server::ARCH_LABEL;
use bloomery_api::{Environment, Server};
use futures::StreamExt;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use tracing::{info, warn};

use super::EnvironmentContext;
use crate::error_chain::ErrorChain;

/// Whether there is such a machine.
#[derive(Debug, Default)]
pub(super) struct Demand(AtomicBool);

impl Demand {
    /// Whether the files of this Environment are to be fetched.
    pub(super) fn is_for(&self, environment: &Environment) -> bool {
        !environment.is_fetched_on_demand() || self.0.load(Ordering::Relaxed)
    }
}

/// Waits for the first such Server, and has all Environments looked at then.
pub(super) async fn watch(context: Arc<EnvironmentContext>) {
    let servers: Api<PartialObjectMeta<Server>> = Api::all(context.common.client.clone());
    let config = watcher::Config::default().labels(&format!("{ARCH_LABEL}={}", Arch::Arm64.as_str()));
    let mut found = std::pin::pin!(watcher::watcher(servers, config).default_backoff().applied_objects());
    while let Some(seen) = found.next().await {
        match seen {
            Ok(server) => {
                info!(server = server.metadata.name, "an arm64 machine needs its Environment");
                context.demand.0.store(true, Ordering::Relaxed);
                context.downloads.changed.notify_one();
                return;
            }
            Err(error) => warn!(error = %ErrorChain(&error), "watch of arm64 machines failed"),
        }
    }
}
