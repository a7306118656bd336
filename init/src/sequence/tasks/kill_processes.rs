//! Kills whatever is left: daemonised descendants that no service knows.
//!
//! Only as PID 1, where "everything" is what is ours.

use crate::context::Context;
use crate::sequence::Work;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every process but PID 1 itself (kill(2)).
const EVERYTHING: Pid = Pid::from_raw(-1);

/// Runs the phase.
pub fn run(_context: Context) -> Work {
    Box::pin(async move {
        if std::process::id() != 1 {
            return Ok(());
        }
        match kill(EVERYTHING, Signal::SIGKILL) {
            // Nobody is left.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}
