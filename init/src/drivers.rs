//! Drivers for everything that the machine has and the initramfs did not need: network, power button.

use crate::outcome::Outcome;
use bloomery_base::chain;
use bloomery_sys::modules::{Coldplug, Modules};

/// Modules that no device asks for by its alias: the power button of virtual machines, and watchers of it; the tunnel to
/// nodes, whose service may load none.
const ALWAYS: [&str; 3] = ["button", "evdev", "wireguard"];

/// The phase. A driver that fails leaves its device dead and the rest as it is.
pub async fn load() -> Outcome {
    // Loading is slow and blocking.
    tokio::task::spawn_blocking(|| {
        let mut modules = Modules::of_running_kernel()?;
        let report = Coldplug::default().run(&mut modules);
        for name in ALWAYS {
            if let Err(error) = modules.load(name) {
                tracing::warn!(module = name, error = %chain(&error), "module not loaded");
            }
        }
        // One broken driver among many is a line in the log, not a degraded plane.
        for (name, error) in &report.failed {
            tracing::warn!(module = %name, error = %chain(error), "module not loaded");
        }
        tracing::info!(loaded = report.loaded.len(), failed = report.failed.len(), "modules loaded");
        Ok(())
    })
    .await?
}
