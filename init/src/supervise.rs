//! Keeping the children running: declared services in, started, probed, restarted and stopped ones out.
//!
//! The rules are pure (`state.rs`, `backoff.rs`, `graph.rs`); `process.rs` drives one service each. One service's
//! trouble must never stop another's supervision, let alone PID 1.

pub mod backoff;
pub mod cgroup;
pub mod graph;
pub mod limits;
pub mod log_file;
pub mod probe;
mod process;
pub mod reaper;
pub mod service;
pub mod state;
mod words;

use crate::console::Console;
use crate::status::{Board, ServiceState, ServiceStatus, rfc3339};
use cgroup::Cgroups;
use log_file::LogSink;
use process::Runner;
use reaper::Reaper;
use service::Service;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::watch;
pub(crate) use words::human;

/// Everything that the runners share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Starts and collects.
    pub reaper: Reaper,
    /// Where groups are made.
    pub cgroups: Cgroups,
    /// Where output goes.
    pub logs: LogSink,
    /// One line per change of state.
    pub console: Console,
    /// The status file's content.
    pub status: Board,
}

/// What the others see of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it is.
    pub state: ServiceState,
    /// Since when.
    pub since: OffsetDateTime,
    /// Its child.
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How its last run ended.
    pub last_exit: Option<String>,
}

impl Snapshot {
    /// Whether those that depend on it may start.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, ServiceState::Running | ServiceState::Finished)
    }

    /// Whether those may start that wait by themselves until it is ready.
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

/// The running services.
#[derive(Debug)]
pub struct Supervisor {
    definitions: BTreeMap<&'static str, watch::Sender<Arc<Service>>>,
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
        let mut definitions = BTreeMap::new();
        for service in services {
            let dependents =
                declared_after(service.name, &declared).into_iter().collect::<Vec<&'static str>>();
            let name = service.name;
            let (definition, changes) = watch::channel(Arc::new(service));
            definitions.insert(name, definition);
            let runner =
                Runner::new(changes, dependents, Arc::clone(&board), stop.subscribe(), shared.clone());
            tokio::spawn(runner.keep_running());
        }
        let (impaired, impairments) = watch::channel(BTreeSet::new());
        tokio::spawn(show_in_status(order, snapshots.clone(), impairments, shared.status.clone()));
        Ok(Self { definitions, snapshots, impaired, stop })
    }

    /// Notes that a service answers its probe and still does not do its work, or does it again. The status shows it
    /// as not ready; it is not restarted, and those that depend on it go on.
    pub fn set_impaired(&self, service: &'static str, impaired: bool) {
        self.impaired.send_if_modified(
            |all| {
                if impaired { all.insert(service) } else { all.remove(service) }
            },
        );
    }

    /// Gives a service a new definition; if it differs, the service is restarted in order.
    pub fn change(&self, service: Service) {
        if let Some(definition) = self.definitions.get(service.name) {
            definition.send_if_modified(|current| {
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

    /// Ends all services, each after those that depend on it; returns when all have ended.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut snapshots = self.snapshots.clone();
        // An error means that the runners are gone, which is what is waited for.
        drop(snapshots.wait_for(|all| all.values().all(Snapshot::has_stopped)).await);
    }
}

/// Who is to start after `name`.
fn declared_after(name: &str, declared: &[(&'static str, &'static [&'static str])]) -> Vec<&'static str> {
    declared.iter().filter(|(_, after)| after.contains(&name)).map(|(other, _)| *other).collect()
}

/// Copies the services' states into the status, in the order in which they start.
async fn show_in_status(
    order: Vec<&'static str>,
    mut snapshots: watch::Receiver<Snapshots>,
    mut impairments: watch::Receiver<BTreeSet<&'static str>>,
    status: Board,
) {
    loop {
        let services = {
            let all = snapshots.borrow_and_update();
            let impaired = impairments.borrow_and_update();
            order
                .iter()
                .filter_map(|name| {
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
