//! Collects ended children: those of the supervisor, and orphans.
//!
//! Everything runs on one thread, and a child is registered in the same breath as it is started: its end cannot
//! be missed. It must never stop.

use bloomery_sys::process::{self, Child, Spec};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Signals merge, and one could be lost to a bug: a look now and then costs nothing.
const SAFETY_NET: Duration = Duration::from_secs(5);

/// A started child and the promise of its end.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    /// Its exit status, once it has ended.
    pub exit: oneshot::Receiver<ExitStatus>,
}

/// Starts children and collects them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    waiting: Arc<Mutex<BTreeMap<u32, oneshot::Sender<ExitStatus>>>>,
}

impl Reaper {
    pub fn spawn(&self, spec: &Spec) -> Result<Running, process::Error> {
        let mut waiting = self.waiting.lock();
        let child = process::spawn(spec)?;
        let (sender, exit) = oneshot::channel();
        waiting.insert(child.pid, sender);
        Ok(Running { child, exit })
    }

    pub async fn run(self) {
        let mut signals = signal(SignalKind::child()).ok();
        if signals.is_none() {
            tracing::error!("no notice of ended children; looking for them every few seconds");
        }
        loop {
            self.collect();
            let notice = async {
                match &mut signals {
                    Some(signals) => drop(signals.recv().await),
                    None => std::future::pending().await,
                }
            };
            // Either way there is only one thing to do.
            let _ = tokio::time::timeout(SAFETY_NET, notice).await;
        }
    }

    fn collect(&self) {
        let mut waiting = self.waiting.lock();
        for exited in process::reap() {
            if let Some(supervisor) = waiting.remove(&exited.pid) {
                // A supervisor that is gone does not care any more.
                let _ = supervisor.send(exited.status);
            } else {
                tracing::debug!(pid = exited.pid, status = %exited.status, "orphan reaped");
            }
        }
    }
}
