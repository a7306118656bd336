//! Drives one service: feeds its state machine with what happens to its child, and does what the machine says.
//!
//! It decides nothing and must never return before it is told to stop: after a panic it ends the processes of the
//! service and goes on.

use super::log_file::Tail;
use super::service::{File, Service};
use super::state::{Action, Event, Kind, Machine, State};
use super::words::describe;
use super::{Request, Shared, Snapshot, Snapshots};
use crate::files;
use crate::status::ServiceState;
use crate::words::human;
use bloomery_base::chain;
use bloomery_sys::process::{Signal, cgroup, signal, signal_group};
use futures::FutureExt;
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Before the first probe of a child: it decides how soon the dependents of a quick one start.
const FIRST_PROBE: Duration = Duration::from_millis(100);
/// The longest wait between probes of a child that is starting.
const SLOWEST_STARTING_PROBE: Duration = Duration::from_secs(1);
/// The interval between probes of a starting child is this share of its start's time: readiness is noticed 5 % late at
/// most.
const STARTING_PROBE_SHARE: u32 = 20;
/// A child that closes its output late has its last lines shown without the rest.
const LAST_LINES_LIMIT: Duration = Duration::from_millis(300);
/// Between the last lines of a child that goes on crashing in the same way.
const LAST_WORDS_INTERVAL: Duration = Duration::from_mins(10);
/// What is left of a service after its main process has ended is killed; the kernel needs a moment for it.
const LEFTOVERS_LIMIT: Duration = Duration::from_millis(500);
/// Between looks at a control group that empties.
const LEFTOVERS_INTERVAL: Duration = Duration::from_millis(5);
/// After a panic of a driver: one that always fails must not take the processor from the others.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// One read of a child's output.
const READ_BYTES: usize = 16 * 1024;

struct Current {
    pid: u32,
    exit: oneshot::Receiver<ExitStatus>,
    output: Option<JoinHandle<()>>,
    tail: Arc<Mutex<Tail>>,
    started: Instant,
}

pub(super) struct Runner {
    name: &'static str,
    definition: watch::Receiver<Arc<Service>>,
    dependents: Vec<&'static str>,
    board: Arc<watch::Sender<Snapshots>>,
    others: watch::Receiver<Snapshots>,
    stop: watch::Receiver<bool>,
    requests: mpsc::Receiver<Request>,
    shared: Shared,
    machine: Machine,
    current: Option<Current>,
    group: Option<PathBuf>,
    oom_kills: u64,
    probe: Option<JoinHandle<Result<(), super::probe::Error>>>,
    next_probe: Instant,
    starts: u32,
    last_exit: Option<String>,
    last_refusal: Option<String>,
    crash: Option<String>,
    words_shown: Option<Instant>,
    shown: ServiceState,
}

impl Runner {
    pub(super) fn new(
        mut definition: watch::Receiver<Arc<Service>>,
        dependents: Vec<&'static str>,
        board: Arc<watch::Sender<Snapshots>>,
        stop: watch::Receiver<bool>,
        requests: mpsc::Receiver<Request>,
        shared: Shared,
    ) -> Self {
        let service = Arc::clone(&definition.borrow_and_update());
        let now = Instant::now();
        Self {
            name: service.name,
            definition,
            dependents,
            others: board.subscribe(),
            board,
            stop,
            requests,
            shared,
            machine: Machine::new(service.policy, now),
            current: None,
            group: None,
            oom_kills: 0,
            probe: None,
            next_probe: now,
            starts: 0,
            last_exit: None,
            last_refusal: None,
            crash: None,
            words_shown: None,
            shown: ServiceState::Waiting,
        }
    }

    /// Runs until the service has been stopped for good.
    pub(super) async fn keep_running(mut self) {
        while !matches!(self.machine.state(), State::Stopped { .. }) {
            let turn = async {
                self.publish();
                self.step().await;
            };
            // What a panic leaves of the child is not known; `recover` assumes nothing.
            if AssertUnwindSafe(turn).catch_unwind().await.is_err() {
                self.recover().await;
            }
        }
        self.shared.cgroups.remove(self.name);
        self.publish();
    }

    /// Ends everything of the service after a panic of this driver, so that it starts anew as after a crash.
    async fn recover(&mut self) {
        tracing::error!(service = self.name, "the service's supervision has failed");
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
        if let Some(mut current) = self.current.take() {
            drop(signal_group(current.pid, Signal::SIGKILL));
            self.kill_control_group();
            drop(tokio::time::timeout(LEFTOVERS_LIMIT, &mut current.exit).await);
            self.end_leftovers(current.pid).await;
        }
        let how = "ended: its supervision failed".to_owned();
        self.crash = Some(how.clone());
        self.last_exit = Some(how);
        self.machine.handle(Event::Exited { success: false }, Instant::now());
        tokio::time::sleep(AFTER_PANIC).await;
    }

    /// Waits for one thing to happen and handles it.
    async fn step(&mut self) {
        if matches!(self.machine.state(), State::Waiting { .. }) && self.may_start() {
            return self.handle(Event::DependenciesReady);
        }
        let wake_at = self.machine.wake_at();
        let stopping = *self.stop.borrow();
        let may_stop = stopping && self.dependents_have_stopped();
        if may_stop && !self.is_told_to_stop() {
            return self.handle(Event::Stop);
        }
        self.start_probe();
        let event = tokio::select! {
            biased;
            status = ended(&mut self.current) => {
                self.note_exit(status).await;
                Some(Event::Exited { success: status.is_some_and(|status| status.success()) })
            }
            answer = answered(&mut self.probe) => Some(self.note_probe(answer)),
            () = sleep_until(wake_at) => Some(Event::Tick),
            () = tokio::time::sleep_until(self.next_probe), if self.wants_probe() => None,
            changed = self.stop.changed(), if !stopping => {
                if changed.is_err() { Some(Event::Stop) } else { None }
            }
            changed = self.definition.changed() => Some(self.note_definition(changed.is_ok())),
            // Dropped unanswered while the machine goes down: nothing is started then.
            Some(Request { event, taken }) = self.requests.recv() => {
                if !stopping {
                    self.handle(event);
                    self.publish();
                    let _ = taken.send(());
                }
                None
            }
            _ = self.others.changed(), if stopping || matches!(self.machine.state(), State::Waiting { .. }) => None,
        };
        if let Some(event) = event {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        if event == Event::Tick && self.machine.wake_at().is_some_and(|at| at <= Instant::now()) {
            self.say_why_it_is_ended();
        }
        match self.machine.handle(event, Instant::now()) {
            None => {}
            Some(Action::Start) => self.start(),
            Some(Action::Terminate) => self.terminate(),
            Some(Action::Kill) => self.kill(),
        }
    }

    fn definition(&self) -> Arc<Service> {
        Arc::clone(&self.definition.borrow())
    }

    /// Whether everything is ready that it does not wait for by itself.
    fn may_start(&self) -> bool {
        let all = self.board.borrow();
        let definition = self.definition();
        definition.after.iter().all(|name| {
            all.get(name).is_some_and(|dependency| {
                dependency.is_ready()
                    || (definition.waits_itself_for.contains(name) && dependency.is_started())
            })
        })
    }

    /// Whether it alone is to blame for not being ready.
    fn dependencies_ready(&self) -> bool {
        let all = self.board.borrow();
        self.definition().after.iter().all(|name| all.get(name).is_some_and(Snapshot::is_ready))
    }

    fn dependents_have_stopped(&self) -> bool {
        let all = self.board.borrow();
        self.dependents.iter().all(|name| all.get(name).is_none_or(Snapshot::has_stopped))
    }

    fn is_told_to_stop(&self) -> bool {
        use super::state::Then;
        matches!(self.machine.state(), State::Ending { then: Then::Stop, .. } | State::Stopped { .. })
    }

    // --- the child -------------------------------------------------------------------------------------------

    fn start(&mut self) {
        let service = self.definition();
        let memory = service.limits.memory;
        self.group = self.shared.cgroups.group(self.name, memory);
        self.oom_kills = self.group.as_deref().map_or(0, cgroup::oom_kills);
        self.starts += 1;
        self.last_refusal = None;
        // The first probe at once would always fail.
        self.next_probe = Instant::now() + FIRST_PROBE;
        let spec = service.spec(self.group.clone(), self.shared.cgroups.data_segment(memory));
        let started =
            write_file(&service).and_then(|()| self.shared.reaper.spawn(&spec).map_err(|e| chain(&e)));
        match started {
            Ok(running) => {
                let tail = Arc::new(Mutex::new(Tail::default()));
                let pid = running.child.pid;
                let output = running.child.output.map(|fd| self.follow_output(fd, Arc::clone(&tail)));
                self.current =
                    Some(Current { pid, exit: running.exit, output, tail, started: Instant::now() });
                tracing::debug!(service = self.name, pid, "started");
            }
            Err(error) => {
                self.last_exit = Some(error.clone());
                self.crash = Some(error);
                self.machine.handle(Event::StartFailed, Instant::now());
            }
        }
    }

    /// Copies the child's output to its log and keeps its last lines.
    fn follow_output(&self, fd: OwnedFd, tail: Arc<Mutex<Tail>>) -> JoinHandle<()> {
        let (name, logs) = (self.name, self.shared.logs.clone());
        tokio::spawn(async move {
            let Ok(mut reader) = pipe::Receiver::from_owned_fd(fd) else {
                tracing::error!(service = name, "failed to read the output");
                return;
            };
            let mut buffer = vec![0; READ_BYTES];
            while let Ok(length) = reader.read(&mut buffer).await {
                if length == 0 {
                    return;
                }
                tail.lock().push(&buffer[..length]);
                logs.write(name, buffer[..length].to_vec()).await;
                // A child that writes without end must not keep the others from their turn.
                tokio::task::yield_now().await;
            }
        })
    }

    fn terminate(&mut self) {
        if let Some(current) = &self.current
            && let Err(error) = signal(current.pid, Signal::SIGTERM)
        {
            tracing::warn!(service = self.name, error = %chain(&error), "failed to ask the service to end");
        }
    }

    /// The main process, its process group and its control group: whichever reaches more.
    fn kill(&mut self) {
        if let Some(current) = &self.current {
            self.say("did not end in time; killed");
            if let Err(error) = signal_group(current.pid, Signal::SIGKILL) {
                tracing::warn!(service = self.name, error = %chain(&error), "failed to kill the process group");
            }
        }
        self.kill_control_group();
    }

    fn kill_control_group(&self) {
        if let Some(group) = &self.group
            && let Err(error) = cgroup::kill(group)
        {
            tracing::warn!(service = self.name, %error, "failed to kill the control group");
        }
    }

    /// Nothing of the old child may be there when the next one starts: it would hold ports and locks.
    async fn end_leftovers(&self, pid: u32) {
        drop(signal_group(pid, Signal::SIGKILL));
        let Some(group) = &self.group else { return };
        let deadline = Instant::now() + LEFTOVERS_LIMIT;
        while cgroup::is_populated(group).unwrap_or(false) {
            self.kill_control_group();
            if Instant::now() >= deadline {
                tracing::warn!(service = self.name, "some processes of the service cannot be ended");
                return;
            }
            tokio::time::sleep(LEFTOVERS_INTERVAL).await;
        }
    }

    async fn note_exit(&mut self, status: Option<ExitStatus>) {
        let Some(current) = self.current.take() else { return };
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
        self.end_leftovers(current.pid).await;
        let mut how = status.map_or_else(|| "ended".to_owned(), describe);
        if self.group.as_deref().is_some_and(|group| cgroup::oom_kills(group) > self.oom_kills) {
            let limit = self.shared.cgroups.memory_max(self.definition().limits.memory) >> 20;
            how = format!("{how}: out of memory (its limit is {limit} MiB)");
        }
        tracing::info!(service = self.name, pid = current.pid, how, "ended");
        let before = self.last_exit.replace(how.clone());
        let success = status.is_some_and(|status| status.success());
        let done = success && self.definition().policy.kind == Kind::OneShot;
        if !done && !matches!(self.machine.state(), State::Ending { .. }) {
            // Its last words are shown by a task of their own, so that the restart does not wait for them.
            self.crash = Some(format!("{how} after {}", human(current.started.elapsed())));
            if self.last_words_are_due(before.as_ref() == Some(&how)) {
                self.words_shown = Some(Instant::now());
                tokio::spawn(show_last_lines(current, self.name, self.shared.clone()));
            }
        }
    }

    /// A child that crashes in a loop says the same each time; on the console once in a while is enough.
    fn last_words_are_due(&self, same_end: bool) -> bool {
        !same_end || self.words_shown.is_none_or(|at| at.elapsed() >= LAST_WORDS_INTERVAL)
    }

    // --- probes and definitions ------------------------------------------------------------------------------

    fn wants_probe(&self) -> bool {
        self.probe.is_none()
            && self.definition().policy.kind == Kind::Daemon
            && matches!(self.machine.state(), State::Starting { .. } | State::Running { .. })
    }

    fn start_probe(&mut self) {
        if self.wants_probe() && Instant::now() >= self.next_probe {
            let service = self.definition();
            self.probe = Some(tokio::spawn(async move { service.probe.ask(service.probe_timeout).await }));
        }
    }

    fn note_probe(&mut self, answer: Result<(), String>) -> Event {
        let interval = match self.machine.state() {
            State::Starting { since } if answer.is_err() => {
                (since.elapsed() / STARTING_PROBE_SHARE).clamp(FIRST_PROBE, SLOWEST_STARTING_PROBE)
            }
            _ => self.definition().probe_interval,
        };
        self.next_probe = Instant::now() + interval;
        match answer {
            Ok(()) => Event::ProbeSucceeded,
            Err(reason) => {
                if self.last_refusal.as_ref() != Some(&reason) {
                    tracing::debug!(service = self.name, reason, "not ready");
                }
                self.last_refusal = Some(reason);
                Event::ProbeFailed { dependencies_ready: self.dependencies_ready() }
            }
        }
    }

    fn note_definition(&mut self, there: bool) -> Event {
        if !there {
            // The supervisor itself is gone; without it nobody could stop this service.
            return Event::Stop;
        }
        self.definition.mark_unchanged();
        if self.current.is_some() {
            self.say("settings have changed; restarting");
        }
        Event::Changed
    }

    // --- telling people --------------------------------------------------------------------------------------

    fn say(&self, text: &str) {
        self.shared.console.line(format!("{}: {text}", self.name));
    }

    fn say_why_it_is_ended(&self) {
        let reason = self.last_refusal.as_deref().unwrap_or("it does not answer");
        match self.machine.state() {
            State::Starting { since } => {
                self.say(&format!("not ready after {} ({reason}); restarting", human(since.elapsed())));
            }
            State::Running { failing_since: Some(since), .. } => {
                self.say(&format!("not answering for {} ({reason}); restarting", human(since.elapsed())));
            }
            _ => {}
        }
    }

    fn what_follows(&self) -> String {
        match self.machine.state() {
            State::BackingOff { since, until } => format!("; restarting in {}", human(until - since)),
            _ => String::new(),
        }
    }

    fn publish(&mut self) {
        let state = self.visible_state();
        let snapshot = Snapshot {
            state,
            since: OffsetDateTime::now_utc(),
            pid: self.current.as_ref().map(|current| current.pid),
            restarts: self.starts.saturating_sub(1),
            last_exit: self.last_exit.clone(),
        };
        if state != self.shown {
            self.announce(state);
            self.shown = state;
        }
        self.board.send_if_modified(|all| {
            let Some(old) = all.get_mut(self.name) else { return false };
            let since = if old.state == snapshot.state { old.since } else { snapshot.since };
            let snapshot = Snapshot { since, ..snapshot };
            let differs = *old != snapshot;
            *old = snapshot;
            differs
        });
    }

    fn announce(&self, state: ServiceState) {
        let took = self.current.as_ref().map(|current| current.started.elapsed());
        match state {
            ServiceState::Starting => self.say("starting"),
            ServiceState::Running if self.shown == ServiceState::Unready => self.say("ready again"),
            ServiceState::Running => self.say(&format!("ready after {}", human(took.unwrap_or_default()))),
            ServiceState::Finished => self.say("done"),
            ServiceState::Unready => {
                self.say(&format!(
                    "not ready any more: {}",
                    self.last_refusal.as_deref().unwrap_or("no answer")
                ));
            }
            ServiceState::BackingOff => {
                let crash = self.crash.as_deref().unwrap_or("ended");
                self.say(&format!("{crash}{}", self.what_follows()));
            }
            ServiceState::Stopping => self.say("stopping"),
            ServiceState::Held => self.say("held; not started before it is asked for"),
            ServiceState::Stopped => self.say("stopped"),
            ServiceState::Waiting => {}
        }
    }

    fn visible_state(&self) -> ServiceState {
        match self.machine.state() {
            State::Waiting { .. } => ServiceState::Waiting,
            State::Starting { .. } => ServiceState::Starting,
            State::Running { failing_since: None, .. } => ServiceState::Running,
            State::Running { failing_since: Some(_), .. } => ServiceState::Unready,
            State::Finished { .. } => ServiceState::Finished,
            State::BackingOff { .. } => ServiceState::BackingOff,
            State::Ending { .. } => ServiceState::Stopping,
            State::Held { .. } => ServiceState::Held,
            State::Stopped { .. } => ServiceState::Stopped,
        }
    }
}

/// Gives the service the file of its declaration.
fn write_file(service: &Service) -> Result<(), String> {
    let Some(File { path, text }) = &service.file else { return Ok(()) };
    let owner = service.user.map(|user| user.uid);
    files::replace(path, text.as_bytes(), files::PRIVATE, owner).map_err(|error| chain(&error))
}

/// The end of the child; never, if there is none.
async fn ended(current: &mut Option<Current>) -> Option<ExitStatus> {
    match current {
        // An error means that the reaper is gone; the child is then lost sight of, and counts as ended.
        Some(current) => (&mut current.exit).await.ok(),
        None => std::future::pending().await,
    }
}

/// The answer of the probe under way; never, if there is none.
async fn answered(probe: &mut Option<JoinHandle<Result<(), super::probe::Error>>>) -> Result<(), String> {
    let Some(handle) = probe else { return std::future::pending().await };
    let answer = handle.await;
    *probe = None;
    match answer {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) => Err(chain(&error)),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Shows what a crashed child wrote last.
async fn show_last_lines(current: Current, name: &'static str, shared: Shared) {
    if let Some(output) = current.output {
        // A descendant may keep the pipe open for ever.
        drop(tokio::time::timeout(LAST_LINES_LIMIT, output).await);
    }
    let lines = current.tail.lock().take();
    for line in lines {
        shared.console.line(format!("  {name} | {line}"));
    }
}
