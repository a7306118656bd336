//! The downloads under way: a task for each asset, so that no reconcile waits for one.
//!
//! A task tries until it succeeds or is no longer wanted:
//!
//! ```text
//! Queued -> Receiving -> Placed
//!   ^           |
//!   +- Failed <-+
//! ```
//!
//! Never runs two tasks on one file: a new one first waits for the end of the one before.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bloomery_platform::{chain, growing};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::download::{Error, Fetcher, Job, Placed, Progress};
use crate::keyed_lock::KeyedLock;
use crate::metrics::Metrics;

/// Downloads at once: enough for both files of two Environments, few enough to leave a site its line.
const AT_ONCE: usize = 4;
/// First delay after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest delay: a server that was away for a night is found again soon enough.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its turn.
    Queued,
    Receiving {
        /// Bytes that are here.
        received: u64,
        /// Of how many, if that is known.
        total: Option<u64>,
    },
    /// The last try failed; there will be another.
    Failed {
        message: String,
    },
    Placed(Placed),
}

struct Task {
    job: Job,
    state: Arc<Mutex<State>>,
    progress: Arc<Progress>,
    handle: JoinHandle<()>,
    _stop: DropGuard,
}

pub(super) struct Downloads {
    pub(super) fetcher: Fetcher,
    /// Told whenever the state of a download changes.
    pub(super) changed: Arc<Notify>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
    urls: KeyedLock<String>,
    tasks: Mutex<HashMap<PathBuf, Task>>,
}

impl Downloads {
    pub(super) fn new(fetcher: Fetcher, metrics: Arc<Metrics>) -> Self {
        Self {
            fetcher,
            changed: Arc::default(),
            metrics,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            urls: KeyedLock::default(),
            tasks: Mutex::default(),
        }
    }

    /// How the download of just this job stands, if there is one.
    pub(super) fn state(&self, job: &Job) -> Option<State> {
        let tasks = self.tasks.lock();
        let task = tasks.get(&job.place.path()).filter(|task| is_same(&task.job, job))?;
        let state = task.state.lock().clone();
        Some(match state {
            State::Receiving { .. } => {
                let (received, total) = task.progress.get();
                State::Receiving { received, total }
            }
            State::Queued | State::Failed { .. } | State::Placed(_) => state,
        })
    }

    /// Starts a download unless it is under way already, and says how it stands.
    pub(super) fn want(&self, job: Job) -> State {
        let mut tasks = self.tasks.lock();
        let key = job.place.path();
        if tasks.get(&key).is_some_and(|task| is_same(&task.job, &job) && !task.handle.is_finished()) {
            drop(tasks);
            return self.state(&job).unwrap_or(State::Queued);
        }
        let before = tasks.remove(&key).map(Task::stopped);
        let (stop, state, progress) =
            (CancellationToken::new(), Arc::new(Mutex::new(State::Queued)), Arc::default());
        let run = Run {
            fetcher: self.fetcher.clone(),
            changed: self.changed.clone(),
            metrics: self.metrics.clone(),
            slots: self.slots.clone(),
            urls: self.urls.clone(),
            job: job.clone(),
            state: Arc::clone(&state),
            progress: Arc::clone(&progress),
        };
        let token = stop.clone();
        let handle = tokio::spawn(async move {
            if let Some(before) = before {
                // It was told to stop; how it ended does not matter.
                let _ = before.await;
            }
            run.until_placed(&token).await;
        });
        tasks.insert(key, Task { job, state, progress, handle, _stop: stop.drop_guard() });
        State::Queued
    }

    /// Ends a file's download and waits for its end.
    pub(super) async fn forget(&self, path: &std::path::Path) {
        let task = self.tasks.lock().remove(path);
        if let Some(task) = task {
            let _ = task.stopped().await;
        }
    }
}

impl Task {
    /// Tells the task to stop, by dropping what keeps it going.
    fn stopped(self) -> JoinHandle<()> {
        self.handle
    }
}

/// The places where the same file may be change all the time and make no other job.
fn is_same(one: &Job, other: &Job) -> bool {
    let Job { text, source, sha512, place, elsewhere: _ } = one;
    (text, source, sha512, place) == (&other.text, &other.source, &other.sha512, &other.place)
}

struct Run {
    fetcher: Fetcher,
    changed: Arc<Notify>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
    urls: KeyedLock<String>,
    job: Job,
    state: Arc<Mutex<State>>,
    progress: Arc<Progress>,
}

impl Run {
    async fn until_placed(&self, stop: &CancellationToken) {
        let mut delays = growing(FIRST_RETRY, LONGEST_RETRY);
        while !stop.is_cancelled() {
            let before = self.progress.get().0;
            let Some(result) = self.one_try(stop).await else { return };
            let (url, file) = (&self.job.text, self.job.place.path());
            let gained = self.progress.get().0.saturating_sub(before);
            match result {
                Ok(placed) => {
                    self.metrics.downloaded("success", gained);
                    info!(url, file = %file.display(), bytes = placed.size, linked = placed.linked, "asset in place");
                    self.set(State::Placed(placed));
                    return;
                }
                Err(error) => {
                    self.metrics.downloaded(error.category(), gained);
                    let message = chain(&error);
                    warn!(url, file = %file.display(), error = message, "asset not fetched; will try again");
                    self.set(State::Failed { message });
                    // A line that breaks often still brings the file, a piece at a time.
                    if error.is_break() && gained > 0 {
                        delays = growing(FIRST_RETRY, LONGEST_RETRY);
                    }
                }
            }
            let delay = delays.next().unwrap_or(LONGEST_RETRY);
            if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                return;
            }
        }
    }

    /// Waits for its turn, first among those of the same URL and then among all. `None` once it is told to stop.
    async fn one_try(&self, stop: &CancellationToken) -> Option<Result<Placed, Error>> {
        let _url = stop.run_until_cancelled(self.urls.lock(&self.job.text)).await?;
        let _slot = stop.run_until_cancelled(self.slots.acquire()).await?;
        self.set(State::Receiving { received: 0, total: None });
        match self.fetcher.fetch(&self.job, &self.progress, stop).await {
            Err(Error::Unwanted) => None,
            result => Some(result),
        }
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_one();
    }
}
