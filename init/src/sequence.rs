//! Boot and shutdown as data: lists of named phases, run one after the other.
//!
//! A phase that fails, panics or takes too long degrades the plane and is said; the next one runs all the same.
//! Nothing here may ever end PID 1.

pub mod boot;
pub mod shutdown;
pub mod tasks;

use crate::context::Context;
use crate::status::{PhaseOutcome, PhaseStatus};
use crate::supervise::human;
use bloomery_base::chain;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What a phase does.
pub type Work = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send>>;

/// Where a phase runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Machines and containers.
    Always,
    /// Machines only: in a container it is the host's business.
    Machine,
}

/// One named step.
#[derive(Clone, Copy)]
pub struct Phase {
    /// Its name on the console and in the status.
    pub name: &'static str,
    /// Where it runs.
    pub when: When,
    /// Beyond this it is left behind.
    pub limit: Duration,
    /// What it does.
    pub run: fn(Context) -> Work,
    /// What its failure means, for a person.
    pub without: &'static str,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} ({:?}, {}): without it, {}",
            self.name,
            self.when,
            human(self.limit),
            self.without
        )
    }
}

/// Runs the phases in order, to the end.
pub async fn run(phases: &[Phase], context: &Context) {
    let applicable: Vec<&Phase> =
        phases.iter().filter(|phase| phase.when == When::Always || !context.container).collect();
    let count = applicable.len();
    for (index, phase) in applicable.into_iter().enumerate() {
        let label = format!("[{:>2}/{count}] {}", index + 1, phase.name);
        run_phase(phase, &label, context).await;
    }
}

async fn run_phase(phase: &Phase, label: &str, context: &Context) {
    let started = Instant::now();
    context.console.line(format!("{label} …"));
    context.status.update(|status| {
        status.phases.push(PhaseStatus {
            name: phase.name.to_owned(),
            outcome: PhaseOutcome::Running,
            duration_ms: None,
            message: None,
        });
    });
    let failure = outcome(phase, context).await;
    let took = started.elapsed();
    tracing::info!(phase = phase.name, took_ms = millis(took), failure, "phase ended");
    match &failure {
        None => context.console.line(format!("{label} done ({})", human(took))),
        Some(reason) => {
            context.console.line(format!("{label} FAILED ({}): {reason}", human(took)));
            context.console.line(format!("         {}", phase.without));
        }
    }
    context.status.update(|status| {
        if let Some(last) = status.phases.last_mut() {
            last.outcome = if failure.is_some() { PhaseOutcome::Degraded } else { PhaseOutcome::Done };
            last.duration_ms = Some(millis(took));
            last.message = failure.map(|reason| format!("{reason}; {}", phase.without));
        }
    });
}

/// Why the phase failed, if it did. It runs as a task of its own, so that its panic is its own as well.
async fn outcome(phase: &Phase, context: &Context) -> Option<String> {
    let mut task = tokio::spawn((phase.run)(context.clone()));
    match tokio::time::timeout(phase.limit, &mut task).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(chain(&*error)),
        Ok(Err(panic)) => Some(format!("a bug in PID 1: {}", chain(&panic))),
        // Not aborted: a late answer of a disk is better than half a mount.
        Err(_) => Some(format!("not done after {}", human(phase.limit))),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "sequence/tests.rs"]
mod tests;
