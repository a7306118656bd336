//! Boot and shutdown: named phases that run one after the other and hand on what they found.
//!
//! A phase that fails, panics or takes too long degrades the plane and is said; the next one runs all the same.
//! Nothing here may ever end PID 1.

pub mod boot;
pub mod shutdown;

use crate::context::Context;
use crate::outcome::{Outcome, Shortfall};
use crate::status::{PhaseOutcome, PhaseStatus};
use crate::words::human;
use bloomery_base::chain;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// Machines only: in a container it is the host's business.
    Machine,
}

#[derive(Clone, Copy)]
pub struct Phase {
    /// Its name on the console and in the status.
    pub name: &'static str,
    pub when: When,
    /// Beyond this the sequence goes on without it.
    pub limit: Duration,
    /// What its failure means, for a person.
    pub without: &'static str,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, when, limit, without } = self;
        write!(formatter, "{name} ({when:?}, {}): without it, {without}", human(*limit))
    }
}

#[derive(Debug)]
pub struct Sequence<'a> {
    context: &'a Context,
    stop: watch::Receiver<bool>,
    count: usize,
    begun: usize,
}

impl<'a> Sequence<'a> {
    /// Of these phases. Once `stop` is true the phase under way is left behind and no other begins.
    pub fn new(context: &'a Context, phases: &[Phase], stop: watch::Receiver<bool>) -> Self {
        let count = phases.iter().filter(|phase| applies(phase, context)).count();
        Self { context, stop, count, begun: 0 }
    }

    /// Runs a phase; what it found, if it found anything.
    pub async fn run<T, F>(&mut self, phase: Phase, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        if !applies(&phase, self.context) || *self.stop.borrow() {
            return None;
        }
        self.begun += 1;
        let label = format!("[{:>2}/{}] {}", self.begun, self.count, phase.name);
        let started = Instant::now();
        self.begin(&phase, &label);
        let (found, failure) = self.outcome(&phase, work).await;
        self.end(&phase, &label, started.elapsed(), failure);
        found
    }

    /// Runs a phase that waits for nothing.
    pub async fn call<T, F>(&mut self, phase: Phase, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Context) -> Outcome<T> + Send + 'static,
    {
        let context = self.context.clone();
        self.run(phase, async move { work(&context) }).await
    }

    fn begin(&self, phase: &Phase, label: &str) {
        self.context.console.line(format!("{label} …"));
        self.context.status.update(|status| {
            status.phases.push(PhaseStatus {
                name: phase.name.to_owned(),
                outcome: PhaseOutcome::Running,
                duration_ms: None,
                message: None,
            });
        });
    }

    /// The phase runs as a task of its own, so that its panic is its own as well.
    async fn outcome<T, F>(&mut self, phase: &Phase, work: F) -> (Option<T>, Option<String>)
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let mut task = tokio::spawn(work);
        let outcome = tokio::select! {
            // A phase that has ended has its result handed on, whatever else happened at the same time.
            biased;
            outcome = tokio::time::timeout(phase.limit, &mut task) => outcome,
            Ok(_) = self.stop.wait_for(|stop| *stop) => {
                task.abort();
                return (None, Some("the machine goes down".to_owned()));
            }
        };
        match outcome {
            Ok(Ok(Ok(found))) => (Some(found), None),
            Ok(Ok(Err(Shortfall { error, found }))) => (found, Some(chain(&*error))),
            Ok(Err(panic)) => (None, Some(format!("a bug in PID 1: {}", chain(&panic)))),
            // Not aborted: a late answer of a disk is better than half a mount.
            Err(_) => (None, Some(format!("not done after {}", human(phase.limit)))),
        }
    }

    fn end(&self, phase: &Phase, label: &str, took: Duration, failure: Option<String>) {
        let console = &self.context.console;
        tracing::info!(phase = phase.name, took_ms = millis(took), failure, "phase ended");
        match &failure {
            None => console.line(format!("{label} done ({})", human(took))),
            Some(reason) => {
                console.line(format!("{label} FAILED ({}): {reason}", human(took)));
                console.line(format!("         {}", phase.without));
            }
        }
        self.context.status.update(|status| {
            if let Some(last) = status.phases.last_mut() {
                last.outcome = if failure.is_some() { PhaseOutcome::Degraded } else { PhaseOutcome::Done };
                last.duration_ms = Some(millis(took));
                last.message = failure.map(|reason| format!("{reason}; {}", phase.without));
            }
        });
    }
}

fn applies(phase: &Phase, context: &Context) -> bool {
    phase.when == When::Always || !context.container
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "sequence/tests.rs"]
mod tests;
