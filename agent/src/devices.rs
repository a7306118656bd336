//! Drivers for the hardware that is there, at start and whenever a device appears.
//!
//! It must never stop because one driver failed, and never load drivers that no device asked for.

use std::time::Duration;

use bloomery_sys::modules::{Coldplug, Modules, Report};
use bloomery_sys::uevent::Uevents;
use tokio::sync::watch;

/// Devices are looked for this often even if an event was lost.
const RECHECK: Duration = Duration::from_secs(30);

/// Loads drivers now, then starts the thread that goes on doing so. The receiver changes at every device event.
pub fn serve() -> watch::Receiver<u64> {
    let (sender, changes) = watch::channel(0);
    // Listening before the first look, so that nothing is missed between.
    let events = Uevents::listen();
    let modules = match Modules::of_running_kernel() {
        Ok(modules) => Some(modules),
        Err(error) => {
            let error = bloomery_base::chain(&error);
            tracing::warn!(%error, "no module index; only built-in drivers work");
            None
        }
    };
    let mut drivers = Drivers { coldplug: Coldplug::default(), modules };
    drivers.load();
    let thread = std::thread::Builder::new().name("devices".to_owned()).spawn(move || {
        while !sender.is_closed() {
            events.wait(RECHECK);
            drivers.load();
            sender.send_modify(|changes: &mut u64| *changes = changes.wrapping_add(1));
        }
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "hot-plugged devices will not be noticed");
    }
    changes
}

struct Drivers {
    coldplug: Coldplug,
    modules: Option<Modules>,
}

impl Drivers {
    fn load(&mut self) {
        let Some(modules) = &mut self.modules else { return };
        let Report { loaded, failed } = self.coldplug.run(modules);
        if !loaded.is_empty() {
            tracing::info!(modules = loaded.join(" "), "drivers loaded");
        }
        for (module, error) in failed {
            let error = bloomery_base::chain(&error);
            tracing::debug!(%module, %error, "driver not loaded");
        }
    }
}
