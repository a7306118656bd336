//! What the phases of boot and shutdown hand to each other.
//!
//! A phase that has not run, or has failed, leaves its fact out; whoever needs it degrades. It must never be locked
//! across a wait.

use crate::console::Console;
use crate::layout::Layout;
use crate::network::Network;
use crate::pki::Pki;
use crate::pki::people::People;
use crate::release::Release;
use crate::services::users::Accounts;
use crate::status::Board;
use crate::supervise::Supervisor;
use crate::supervise::log_file::{LogSink, MAX_BYTES};
use crate::supervise::reaper::Reaper;
use bloomery_config::Config;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Where the state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Not known yet.
    #[default]
    Unknown,
    /// On a partition, or given by the container's host.
    Kept,
    /// In memory.
    Volatile,
    /// There, and not usable; nothing may be started on top of it.
    Damaged,
}

/// What was found out on the way.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `bloomery.yaml`, or the last good one, or the defaults.
    pub config: Arc<Config>,
    /// Where the state is.
    pub state: State,
    /// The running network.
    pub network: Option<Network>,
    /// Authorities and keys.
    pub pki: Option<Arc<Pki>>,
    /// Those who paired, and what signs for them.
    pub people: Option<Arc<People>>,
    /// The name of the key that Secrets are encrypted with.
    pub encryption_key: Option<String>,
    /// Whether etcd has more than its usual quota.
    pub etcd_reserve: bool,
    /// The running services.
    pub supervisor: Option<Arc<Supervisor>>,
}

/// Everything a phase needs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where everything is.
    pub layout: Layout,
    /// The host's business is not ours.
    pub container: bool,
    /// What the image knows of itself.
    pub release: Release,
    /// For people.
    pub console: Console,
    /// For programs.
    pub status: Board,
    /// Starts children.
    pub reaper: Reaper,
    /// Children's output.
    pub logs: LogSink,
    accounts: Arc<OnceLock<Accounts>>,
    facts: Arc<Mutex<Facts>>,
}

impl Context {
    /// Before the first phase.
    pub fn new(layout: Layout, container: bool, console: Console, reaper: Reaper) -> Self {
        let release = Release::read(&layout.release());
        let status = Board::default();
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
            facts: Arc::default(),
        }
    }

    /// Whether services have users of their own. To be asked after the mounts: /proc tells.
    pub fn accounts(&self) -> Accounts {
        *self.accounts.get_or_init(Accounts::detect)
    }

    /// What was found out so far. Not to be held across a wait.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.facts().config)
    }

    /// Says something that a person should look at, on the console and in the status, once.
    pub fn warn(&self, id: &str, text: &str, hint: &str) {
        if self.status.warn(id, text, hint) {
            tracing::warn!(id, text, hint, "warning");
            self.console.line(format!("WARNING: {text}"));
            self.console.line(format!("         {hint}"));
        }
    }

    /// Takes a warning back.
    pub fn clear_warning(&self, id: &str, text: &str) {
        if self.status.clear_warning(id) {
            tracing::info!(id, "warning taken back");
            self.console.line(text);
        }
    }
}
