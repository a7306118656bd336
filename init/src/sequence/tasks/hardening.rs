//! The kernel's settings, and PID 1's own place at the end of the queue for the out-of-memory killer.
//!
//! In a container the kernel is the host's, and is left as it is.

use crate::context::Context;
use crate::sequence::Work;
use crate::sysctl;
use std::path::Path;

/// Never killed; every child is given a score of its own.
const NEVER: &str = "-1000";
/// Of this process.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Some settings were refused.
#[derive(Debug, thiserror::Error)]
#[error("failed to set {count} of the kernel's settings, first {first}")]
struct Refused {
    count: usize,
    first: String,
    #[source]
    source: std::io::Error,
}

/// Runs the phase.
#[expect(clippy::needless_pass_by_value, reason = "all phases have one type")]
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        // The kernel spares PID 1 of the machine anyway, but not that of a container.
        if let Err(error) = std::fs::write(OOM_SCORE, NEVER) {
            tracing::info!(%error, "PID 1 keeps its out-of-memory score");
        }
        if context.container {
            tracing::info!("kernel settings are the host's");
            return Ok(());
        }
        let report = sysctl::apply(Path::new(sysctl::ROOT), &sysctl::SETTINGS);
        tracing::info!(set = report.set, unknown = report.unknown.len(), "kernel settings");
        for setting in &report.unknown {
            tracing::info!(setting, "not a setting of this kernel");
        }
        let count = report.refused.len();
        for (file, error) in &report.refused {
            tracing::warn!(file = %file.display(), %error, "kernel setting refused");
        }
        match report.refused.into_iter().next() {
            None => Ok(()),
            Some((file, source)) => Err(Refused { count, first: file.display().to_string(), source }.into()),
        }
    })
}
