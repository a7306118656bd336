//! Log directories, and a watch on the space of the state partition that warns before the disk is full.
//!
//! It must never delete anything.

use crate::accounts;
use crate::context::Context;
use crate::files;
use crate::outcome::Outcome;
use std::path::Path;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(10);
/// Less than this and etcd's next write-ahead log (64 MB) does not fit.
const LOW_BYTES: u64 = 96 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: u64,
    total: u64,
}

impl Space {
    fn of(path: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(path).ok()?;
        Some(Self { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }

    fn is_low(self) -> bool {
        self.free < LOW_BYTES.min(self.total / 4)
    }
}

/// Only root lists the logs; the API server reaches the directory of its audit log through it.
const LOGS_MODE: u32 = 0o751;

/// The phase: directories of the logs, and a watch on the space for them. Without it services run all the same; a full
/// disk costs log lines first.
pub fn open_logs(context: &Context) -> Outcome {
    tokio::spawn(watch(context.clone()));
    files::directory(&context.layout.logs(), LOGS_MODE, None)?;
    let owner = context.accounts().owner(accounts::APISERVER);
    if let Some(audit) = context.layout.audit_log().parent() {
        files::directory(audit, files::PRIVATE_DIR, owner)?;
    }
    Ok(())
}

async fn watch(context: Context) {
    loop {
        if let Some(space) = Space::of(&context.layout.var) {
            if space.is_low() {
                let text = format!(
                    "the state partition is almost full: {} of {} MiB are free",
                    space.free >> 20,
                    space.total >> 20
                );
                context.warn(
                    "space",
                    &text,
                    "delete Environments or objects that are not needed, or use a larger disk",
                );
            } else {
                context.clear_warning("space", "the state partition has room again");
            }
        }
        let losses = context.logs.take_losses();
        if losses.bytes > 0 {
            let reason = losses.reason.unwrap_or_default();
            tracing::warn!(bytes = losses.bytes, reason, "log output lost");
            context.warn(
                "logs",
                &format!("log files cannot be written: {reason}"),
                "make room on the state partition",
            );
        } else {
            context.clear_warning("logs", "log files can be written again");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_partitions_are_low_later() {
        let mib = |free: u64, total: u64| Space { free: free << 20, total: total << 20 }.is_low();
        assert!(mib(95, 4096));
        assert!(!mib(97, 4096));
        assert!(!mib(65, 256));
        assert!(mib(63, 256));
    }

    #[test]
    fn real_partitions_have_some() {
        assert!(Space::of(Path::new("/")).unwrap().total > 0);
        assert_eq!(Space::of(Path::new("/nonexistent")), None);
    }
}
