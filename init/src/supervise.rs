//! The supervisor: starts, probes, restarts and stops the declared services.
//!
//! `state.rs`, `backoff.rs` and `graph.rs` hold the rules and are pure; `process.rs` drives one service. Trouble of one
//! service must never stop the supervision of another one, or PID 1.

pub mod backoff;
pub mod cgroup;
pub mod graph;
pub mod limits;
pub mod log_file;
pub mod log_reader;
pub mod probe;
mod process;
pub mod reaper;
pub mod service;
pub mod state;
mod words;

use crate::console::Console;
use crate::status::{ServiceState, ServiceStatus, StatusStore, rfc3339};
use cgroup::Cgroups;
use log_file::LogSink;
use process::Runner;
use reaper::Reaper;
use service::{Hold, Service};
use state::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

/// Everything that the runners share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub reaper: Reaper,
    pub cgroups: Cgroups,
    pub logs: LogSink,
    /// One line per change of state.
    pub console: Console,
    pub status: StatusStore,
}

/// What the others see of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub state: ServiceState,
    pub since: OffsetDateTime,
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How its last run ended.
    pub last_exit: Option<String>,
}

impl Snapshot {
    /// Whether its dependents may start.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, ServiceState::Running | ServiceState::Finished)
    }

    /// Whether dependents may start that wait for it by themselves.
    pub fn is_started(&self) -> bool {
        self.state == ServiceState::Starting || self.is_ready()
    }

    /// Whether it has ended for good.
    pub fn has_stopped(&self) -> bool {
        self.state == ServiceState::Stopped
    }
}

/// All services' snapshots by name.
pub type Snapshots = BTreeMap<&'static str, Snapshot>;

/// What can be asked of one service while the machine is up. No hold outlives a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ends it and keeps it so. Services that depend on it go on, count as not to blame while their probes fail, and
    /// are not started before it is.
    Hold,
    /// Ends a hold, or the wait after a crash.
    Start,
    /// Ends it and starts it again.
    Restart,
}

/// Why a service was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("failed to find a service {0:?}")]
    Unknown(String),
    #[error("failed to restart {0}: it is held")]
    Held(&'static str),
    #[error("failed to tell {0}: the machine goes down")]
    Stopping(&'static str),
    #[error("failed to end {0} in time; it is held as soon as it has ended")]
    StillRunning(&'static str),
}

/// Longer than the grace of any service: after it, a process stands in the kernel and waits for a disk.
const HOLD_LIMIT: Duration = Duration::from_secs(15);
/// Requests to one service that wait for its driver.
const REQUESTS: usize = 8;

/// A request on its way to the driver of a service.
struct Request {
    event: Event,
    taken: oneshot::Sender<()>,
}

/// What the supervisor keeps of one service.
#[derive(Debug)]
struct Handle {
    definition: watch::Sender<Arc<Service>>,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
pub struct Supervisor {
    services: BTreeMap<&'static str, Handle>,
    snapshots: watch::Receiver<Snapshots>,
    impaired: watch::Sender<BTreeSet<&'static str>>,
    stop: watch::Sender<bool>,
}

impl Supervisor {
    /// Starts to supervise; each service starts when what it depends on is ready.
    ///
    /// # Errors
    /// When the declarations contradict each other; nothing is started then.
    pub fn start(services: Vec<Service>, shared: &Shared) -> Result<Self, graph::Error> {
        let declared: Vec<_> = services.iter().map(|service| (service.name, service.after)).collect();
        let order = graph::order(&declared)?;
        let initial = Snapshot {
            state: ServiceState::Waiting,
            since: OffsetDateTime::now_utc(),
            pid: None,
            restarts: 0,
            last_exit: None,
        };
        let (board, snapshots) =
            watch::channel(services.iter().map(|service| (service.name, initial.clone())).collect());
        let board = Arc::new(board);
        let (stop, _) = watch::channel(false);
        let mut handles = BTreeMap::new();
        let holds: BTreeMap<_, _> = services.iter().map(|service| (service.name, service.hold)).collect();
        for service in services {
            let dependents =
                declared_after(service.name, &declared).into_iter().collect::<Vec<&'static str>>();
            let name = service.name;
            let (definition, changes) = watch::channel(Arc::new(service));
            let (requests, incoming) = mpsc::channel(REQUESTS);
            handles.insert(name, Handle { definition, requests });
            let runner = Runner::new(
                changes,
                dependents,
                Arc::clone(&board),
                stop.subscribe(),
                incoming,
                shared.clone(),
            );
            tokio::spawn(runner.keep_running());
        }
        let (impaired, impairments) = watch::channel(BTreeSet::new());
        let order = order.into_iter().map(|name| (name, holds.get(name).copied())).collect();
        tokio::spawn(show_in_status(order, snapshots.clone(), impairments, shared.status.clone()));
        Ok(Self { services: handles, snapshots, impaired, stop })
    }

    /// Notes that a service answers its probe but does not do its work, or does its work again. The status shows it as
    /// not ready; the supervisor neither restarts it nor stops its dependents.
    pub fn set_impaired(&self, service: &'static str, impaired: bool) {
        self.impaired.send_if_modified(
            |all| {
                if impaired { all.insert(service) } else { all.remove(service) }
            },
        );
    }

    /// Gives a service a new definition; if it differs, the service is restarted in order.
    pub fn change(&self, service: Service) {
        if let Some(handle) = self.services.get(service.name) {
            handle.definition.send_if_modified(|current| {
                let differs = **current != service;
                if differs {
                    *current = Arc::new(service);
                }
                differs
            });
        }
    }

    /// The services' states, now and when they change.
    pub fn snapshots(&self) -> watch::Receiver<Snapshots> {
        self.snapshots.clone()
    }

    /// Whether an administrator may hold the service; none if there is no such service.
    pub fn holdable(&self, service: &str) -> Option<Hold> {
        self.services.get(service).map(|handle| handle.definition.borrow().hold)
    }

    /// Tells a service. A hold returns when the service has ended, a start or restart when it is under way.
    pub async fn tell(&self, service: &str, command: Command) -> Result<Snapshot, CommandError> {
        let Some((&name, handle)) = self.services.get_key_value(service) else {
            return Err(CommandError::Unknown(service.to_owned()));
        };
        let mut snapshots = self.snapshots.clone();
        let is_held =
            |all: &Snapshots| all.get(name).is_some_and(|snapshot| snapshot.state == ServiceState::Held);
        let event = match command {
            Command::Hold => Event::Hold,
            Command::Start => Event::Start,
            Command::Restart if is_held(&snapshots.borrow()) => return Err(CommandError::Held(name)),
            Command::Restart => Event::Restart,
        };
        let (taken, answer) = oneshot::channel();
        let sent = handle.requests.send(Request { event, taken }).await;
        if sent.is_err() || answer.await.is_err() {
            return Err(CommandError::Stopping(name));
        }
        if command == Command::Hold {
            let ended = tokio::time::timeout(HOLD_LIMIT, snapshots.wait_for(is_held)).await;
            drop(ended.map_err(|_| CommandError::StillRunning(name))?);
        }
        let all = snapshots.borrow();
        all.get(name).cloned().ok_or(CommandError::Stopping(name))
    }

    /// Ends all services, each after those that depend on it; returns when all have ended.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut snapshots = self.snapshots.clone();
        // An error means that the runners are gone, which is what is waited for.
        drop(snapshots.wait_for(|all| all.values().all(Snapshot::has_stopped)).await);
    }
}

/// The services that start after `name`.
fn declared_after(name: &str, declared: &[(&'static str, &'static [&'static str])]) -> Vec<&'static str> {
    declared.iter().filter(|(_, after)| after.contains(&name)).map(|(other, _)| *other).collect()
}

/// Copies the services' states into the status, in the order in which they start.
async fn show_in_status(
    order: Vec<(&'static str, Option<Hold>)>,
    mut snapshots: watch::Receiver<Snapshots>,
    mut impairments: watch::Receiver<BTreeSet<&'static str>>,
    status: StatusStore,
) {
    loop {
        let services = {
            let all = snapshots.borrow_and_update();
            let impaired = impairments.borrow_and_update();
            order
                .iter()
                .filter_map(|(name, hold)| {
                    let snapshot = all.get(name)?;
                    Some(ServiceStatus {
                        name: (*name).to_owned(),
                        state: match snapshot.state {
                            ServiceState::Running if impaired.contains(name) => ServiceState::Unready,
                            state => state,
                        },
                        since: rfc3339(snapshot.since),
                        pid: snapshot.pid,
                        restarts: snapshot.restarts,
                        last_exit: snapshot.last_exit.clone(),
                        hold_refused: match hold {
                            Some(Hold::Refused(reason)) => Some((*reason).to_owned()),
                            Some(Hold::Allowed) | None => None,
                        },
                    })
                })
                .collect()
        };
        status.update(|status| status.services = services);
        // The runners end before the supervisor does.
        let changed = tokio::select! {
            changed = snapshots.changed() => changed,
            Ok(()) = impairments.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}
