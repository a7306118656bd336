//! `/run/bloomery/status.json`: what PID 1 tells the appliance and the CLI about the plane.
//!
//! Readers must ignore fields that they do not know. It must never hold a secret: the appliance shows it to
//! whoever has the pairing code.

use bloomery_base::Replace;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

/// Everything there is to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub version: String,
    /// Whether the plane is starting, up or going down.
    pub stage: Stage,
    /// Runs in a container: modules, devices and state partition are the host's business.
    pub container: bool,
    /// The state is in memory and will be lost at the next boot.
    pub volatile: bool,
    pub hostname: String,
    /// Phases of the boot (and then of the shutdown), in their order.
    pub phases: Vec<PhaseStatus>,
    /// Services in the order in which they start.
    pub services: Vec<ServiceStatus>,
    /// The host's own addresses, without loopback and link-local ones; the first is the one shown to people.
    pub addresses: Vec<IpAddr>,
    /// `https://HOST:6443`, once an address is known.
    pub api_url: Option<String>,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// How far the plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    #[default]
    Booting,
    /// All boot phases have ended.
    Up,
    Stopping,
}

/// One phase of boot or shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseStatus {
    pub name: String,
    pub outcome: PhaseOutcome,
    /// How long it took; null while it runs.
    pub duration_ms: Option<u64>,
    /// What went wrong, and what that means.
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PhaseOutcome {
    Running,
    /// It did all it had to.
    Done,
    /// The plane goes on without it, or with less.
    Degraded,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name in DESIGN.md's table.
    pub name: String,
    pub state: ServiceState,
    /// Since when, RFC 3339.
    pub since: String,
    /// Process id of the running child.
    pub pid: Option<u32>,
    /// How many times it was started again since boot.
    pub restarts: u32,
    /// How its last run ended, in words.
    pub last_exit: Option<String>,
    /// Why administrators cannot hold it; null if they can.
    #[serde(default)]
    pub hold_refused: Option<String>,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServiceState {
    /// For what it depends on.
    Waiting,
    /// Its process runs and is not ready yet.
    Starting,
    Running,
    /// It was ready, and now its probe fails.
    Unready,
    /// A one-shot that is done.
    Finished,
    /// It has crashed and will be started again.
    BackingOff,
    /// It was told to end.
    Stopping,
    /// An administrator or PID 1 holds it: it has ended and is started by a request alone.
    Held,
    /// It has ended and will not be started.
    Stopped,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// What it is about; one warning per id.
    pub id: String,
    pub text: String,
    pub hint: String,
}

/// The time as it stands in the status.
pub fn rfc3339(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// The one place where the status is changed; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StatusStore {
    status: Arc<Mutex<Status>>,
    changed: Arc<Notify>,
}

impl StatusStore {
    /// Changes the status; [`StatusStore::publish`] writes it soon.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
        self.changed.notify_one();
    }

    pub fn get(&self) -> Status {
        self.status.lock().clone()
    }

    /// Sets a warning; true if it is new or different.
    pub fn warn(&self, id: &str, text: &str, hint: &str) -> bool {
        let warning = Warning { id: id.to_owned(), text: text.to_owned(), hint: hint.to_owned() };
        let mut new = false;
        self.update(|status| match status.warnings.iter_mut().find(|warning| warning.id == id) {
            Some(old) if *old == warning => {}
            Some(old) => {
                *old = warning;
                new = true;
            }
            None => {
                status.warnings.push(warning);
                new = true;
            }
        });
        new
    }

    /// Takes a warning away; true if it was there.
    pub fn clear_warning(&self, id: &str) -> bool {
        let mut there = false;
        self.update(|status| {
            let before = status.warnings.len();
            status.warnings.retain(|warning| warning.id != id);
            there = status.warnings.len() < before;
        });
        there
    }

    /// Writes the file on every change, for ever.
    pub async fn publish(self, path: PathBuf) {
        let mut written = None;
        loop {
            let status = self.get();
            if written.as_ref() != Some(&status) {
                match write(&path, &status) {
                    Ok(()) => written = Some(status),
                    Err(error) => {
                        tracing::warn!(%error, path = %path.display(), "failed to write the status");
                    }
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Replaces the file as a whole, so that no reader sees half of it. World-readable: there are no secrets in it.
fn write(path: &Path, status: &Status) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(status)?;
    Replace::with_mode(0o644).volatile().write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_news_once() {
        let board = StatusStore::default();
        assert!(board.warn("disk", "full", "delete"));
        assert!(!board.warn("disk", "full", "delete"));
        assert!(board.warn("disk", "very full", "delete"));
        assert_eq!(board.get().warnings.len(), 1);
        assert!(board.clear_warning("disk"));
        assert!(!board.clear_warning("disk"));
    }

    #[tokio::test(start_paused = true)]
    async fn every_change_reaches_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let board = StatusStore::default();
        let writer = tokio::spawn(board.clone().publish(path.clone()));
        board.update(|status| status.hostname = "forge".to_owned());
        loop {
            tokio::task::yield_now().await;
            let Ok(text) = std::fs::read(&path) else { continue };
            let status: Status = serde_json::from_slice(&text).unwrap();
            if status.hostname == "forge" {
                break;
            }
        }
        writer.abort();
    }

    #[test]
    fn readers_may_meet_fields_of_the_future_and_miss_some() {
        let status: Status = serde_json::from_str(r#"{"version":"9","novel":1}"#).unwrap();
        assert_eq!(status.version, "9");
        assert_eq!(status.stage, Stage::Booting);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(OffsetDateTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
