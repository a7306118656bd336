//! The life of one supervised child as a pure state machine: events and the time in, actions out.
//!
//! It must never read a clock, start a process or send a signal; the driver (`process.rs`) does.

use super::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// Whether the child is to stay, or to do its work and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs for ever; every end is a crash.
    Daemon,
    /// Runs until it has ended with exit status 0 once.
    OneShot,
}

/// The declared times of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub kind: Kind,
    /// After this a child that is not ready (a one-shot: not done) counts as hung and is started again.
    pub start_timeout: Duration,
    /// After this a child that was ready and fails its probes counts as hung, unless a dependency is not ready.
    pub hang_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
}

/// ```text
///            dependencies ready           probe ok
///  Waiting ───────────────────▶ Starting ─────────▶ Running     (one-shot, exit 0: Finished)
///     ▲                            │ exit, no start     │ exit
///     │ time is up                 ▼                    ▼
///     └─────────────────────── BackingOff ◀─────────────┘
///
///  Starting, Running ── start or hang timeout ──▶ Ending{BackOff} ── exit ──▶ BackingOff
///                    ── restart, new definition ──▶ Ending{StartAgain} ── exit ──▶ Waiting
///  any but Stopped ── hold ──▶ Ending{Hold} ── exit ──▶ Held ── start ──▶ Waiting
///  any ── stop ──▶ Ending{Stop} ── exit ──▶ Stopped             (Ending: SIGTERM, grace, SIGKILL)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For its dependencies.
    Waiting {
        since: Instant,
    },
    /// Runs, and is not ready yet.
    Starting {
        since: Instant,
    },
    Running {
        since: Instant,
        /// Since when its probe fails, if it does.
        failing_since: Option<Instant>,
    },
    /// A one-shot that is done.
    Finished {
        since: Instant,
    },
    /// Until it is started again.
    BackingOff {
        since: Instant,
        /// When it is started again.
        until: Instant,
    },
    Ending {
        since: Instant,
        /// When SIGKILL follows (again) if it has not ended.
        kill_at: Instant,
        /// What comes after its end.
        then: Then,
    },
    /// Ended, and not started again before [`Event::Start`]. Neither a crash, a new definition nor time ends a hold.
    Held {
        since: Instant,
    },
    Stopped {
        since: Instant,
    },
}

/// What comes after the end of a child that was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Start again after a delay: it hung.
    BackOff,
    /// Start again at once: its definition has changed, or a restart was asked for.
    StartAgain,
    /// Stay ended until it is started by [`Event::Start`].
    Hold,
    /// Nothing: the machine goes down.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Everything this child depends on is ready.
    DependenciesReady,
    /// It could not even be started.
    StartFailed,
    Exited {
        /// With exit status 0.
        success: bool,
    },
    /// It says that it is ready.
    ProbeSucceeded,
    /// It does not.
    ProbeFailed {
        /// If not, the child is not to blame.
        dependencies_ready: bool,
    },
    /// Time has passed; to be sent at [`Machine::wake_at`].
    Tick,
    Changed,
    /// End it, and keep it so.
    Hold,
    /// End a hold, or a wait after a crash.
    Start,
    /// End it and start it again. A held child stays held.
    Restart,
    /// End it for good.
    Stop,
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    /// SIGTERM to it.
    Terminate,
    /// SIGKILL to it and everything it has started.
    Kill,
}

/// One child's state, its delays and its declared times.
#[derive(Debug, Clone)]
pub struct Machine {
    state: State,
    backoff: Backoff,
    policy: Policy,
}

impl Machine {
    /// A child that was never started.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self { state: State::Waiting { since: now }, backoff: Backoff::default(), policy }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Starting { since } => Some(since + self.policy.start_timeout),
            State::Running { failing_since: Some(since), .. } => Some(since + self.policy.hang_timeout),
            State::BackingOff { until, .. } => Some(until),
            State::Ending { kill_at, .. } => Some(kill_at),
            State::Waiting { .. }
            | State::Running { failing_since: None, .. }
            | State::Finished { .. }
            | State::Held { .. }
            | State::Stopped { .. } => None,
        }
    }

    /// Takes one event and returns what the driver does about it.
    pub fn handle(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::DependenciesReady => self.dependencies_ready(now),
            Event::StartFailed => {
                self.back_off(now);
                None
            }
            Event::Exited { success } => {
                self.exited(success, now);
                None
            }
            Event::ProbeSucceeded => {
                self.probe_succeeded(now);
                None
            }
            Event::ProbeFailed { dependencies_ready } => {
                self.probe_failed(dependencies_ready, now);
                None
            }
            Event::Tick => self.tick(now),
            Event::Changed | Event::Restart => self.restart(now),
            Event::Hold => self.hold(now),
            Event::Start => {
                self.start(now);
                None
            }
            Event::Stop => self.stop(now),
        }
    }

    fn dependencies_ready(&mut self, now: Instant) -> Option<Action> {
        let State::Waiting { .. } = self.state else { return None };
        self.state = State::Starting { since: now };
        Some(Action::Start)
    }

    fn exited(&mut self, success: bool, now: Instant) {
        match self.state {
            State::Ending { then: Then::Stop, .. } => self.state = State::Stopped { since: now },
            State::Ending { then: Then::StartAgain, .. } => self.state = State::Waiting { since: now },
            State::Ending { then: Then::Hold, .. } => self.state = State::Held { since: now },
            State::Starting { .. } if success && self.policy.kind == Kind::OneShot => {
                self.state = State::Finished { since: now };
            }
            State::Running { since, .. } => {
                self.backoff.note_ready(now.saturating_duration_since(since));
                self.back_off(now);
            }
            State::Starting { .. } | State::Ending { then: Then::BackOff, .. } => self.back_off(now),
            State::Waiting { .. }
            | State::Finished { .. }
            | State::BackingOff { .. }
            | State::Held { .. }
            | State::Stopped { .. } => {}
        }
    }

    fn back_off(&mut self, now: Instant) {
        self.state = State::BackingOff { since: now, until: now + self.backoff.next_delay() };
    }

    fn probe_succeeded(&mut self, now: Instant) {
        match self.state {
            // A one-shot is ready when it has ended, not before.
            State::Starting { .. } if self.policy.kind == Kind::Daemon => {
                self.state = State::Running { since: now, failing_since: None };
            }
            State::Running { since, failing_since: Some(_) } => {
                self.state = State::Running { since, failing_since: None };
            }
            _ => {}
        }
    }

    fn probe_failed(&mut self, dependencies_ready: bool, now: Instant) {
        let State::Running { since, failing_since } = self.state else { return };
        let failing_since = match failing_since {
            Some(first) if dependencies_ready => first,
            // The time that a dependency was away does not count.
            _ => now,
        };
        self.state = State::Running { since, failing_since: Some(failing_since) };
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        if self.wake_at().is_none_or(|at| now < at) {
            return None;
        }
        match self.state {
            State::BackingOff { .. } => {
                self.state = State::Waiting { since: now };
                None
            }
            State::Starting { .. } | State::Running { .. } => Some(self.end(Then::BackOff, now)),
            State::Ending { since, then, .. } => {
                // Again and again: a process in uninterruptible sleep ends when its disk answers.
                self.state = State::Ending { since, kill_at: now + self.policy.stop_grace, then };
                Some(Action::Kill)
            }
            State::Waiting { .. } | State::Finished { .. } | State::Held { .. } | State::Stopped { .. } => {
                None
            }
        }
    }

    fn end(&mut self, then: Then, now: Instant) -> Action {
        self.state = State::Ending { since: now, kill_at: now + self.policy.stop_grace, then };
        Action::Terminate
    }

    fn restart(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Starting { .. } | State::Running { .. } => Some(self.end(Then::StartAgain, now)),
            // A one-shot that is done has to be done again.
            State::Finished { .. } | State::BackingOff { .. } => {
                self.state = State::Waiting { since: now };
                None
            }
            State::Waiting { .. } | State::Ending { .. } | State::Held { .. } | State::Stopped { .. } => None,
        }
    }

    fn hold(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Starting { .. } | State::Running { .. } => Some(self.end(Then::Hold, now)),
            State::Ending { then: Then::Stop, .. } | State::Held { .. } | State::Stopped { .. } => None,
            State::Ending { since, kill_at, .. } => {
                self.state = State::Ending { since, kill_at, then: Then::Hold };
                None
            }
            State::Waiting { .. } | State::Finished { .. } | State::BackingOff { .. } => {
                self.state = State::Held { since: now };
                None
            }
        }
    }

    fn start(&mut self, now: Instant) {
        match self.state {
            State::Held { .. } | State::BackingOff { .. } => self.state = State::Waiting { since: now },
            State::Ending { since, kill_at, then: Then::Hold } => {
                self.state = State::Ending { since, kill_at, then: Then::StartAgain };
            }
            State::Waiting { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Stopped { .. } => {}
        }
    }

    fn stop(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Starting { .. } | State::Running { .. } => Some(self.end(Then::Stop, now)),
            State::Ending { since, kill_at, .. } => {
                self.state = State::Ending { since, kill_at, then: Then::Stop };
                None
            }
            State::Waiting { .. }
            | State::Finished { .. }
            | State::BackingOff { .. }
            | State::Held { .. } => {
                self.state = State::Stopped { since: now };
                None
            }
            State::Stopped { .. } => None,
        }
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
