//! What every phase works with: where things are, and whom to tell.

use crate::accounts::Accounts;
use crate::console::Console;
use crate::layout::Layout;
use crate::release::Release;
use crate::status::StatusStore;
use crate::supervise::log_file::{LogSink, MAX_BYTES};
use crate::supervise::reaper::Reaper;
use std::sync::{Arc, OnceLock};

/// The equipment of PID 1; cheap to clone. What phases find does not belong here: they return it.
#[derive(Debug, Clone)]
pub struct Context {
    pub layout: Layout,
    /// Runs in a container: clock, drivers, kernel settings and the machine's end are the host's.
    pub container: bool,
    pub release: Release,
    pub console: Console,
    pub status: StatusStore,
    pub reaper: Reaper,
    /// Output of the children.
    pub logs: LogSink,
    accounts: Arc<OnceLock<Accounts>>,
}

impl Context {
    /// Before the first phase.
    pub fn new(layout: Layout, container: bool, console: Console, reaper: Reaper) -> Self {
        let release = Release::read(&layout.release());
        let status = StatusStore::default();
        status.update(|status| {
            status.version.clone_from(&release.version);
            status.container = container;
        });
        Self {
            logs: LogSink::start(layout.logs(), MAX_BYTES),
            layout,
            container,
            release,
            console,
            status,
            reaper,
            accounts: Arc::default(),
        }
    }

    /// Whether services have users of their own. To be asked after the mounts: /proc tells.
    pub fn accounts(&self) -> Accounts {
        *self.accounts.get_or_init(Accounts::detect)
    }

    /// Says something that a person should look at, on the console and in the status, once.
    pub fn warn(&self, id: &str, text: &str, hint: &str) {
        if self.status.warn(id, text, hint) {
            tracing::warn!(id, text, hint, "warning");
            self.console.line(format!("WARNING: {text}"));
            self.console.line(format!("         {hint}"));
        }
    }

    pub fn clear_warning(&self, id: &str, text: &str) {
        if self.status.clear_warning(id) {
            tracing::info!(id, "warning taken back");
            self.console.line(text);
        }
    }
}
