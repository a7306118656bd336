//! The shutdown, top to bottom.

use super::boot::Booted;
use super::{Phase, Sequence, When};
use crate::context::Context;
use crate::network::Network;
use crate::outcome::Outcome;
use crate::{mounts, plane};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;
use tokio::sync::watch;

/// Eight services, each with its grace, some after others.
const SERVICES: Duration = Duration::from_secs(90);
/// What only talks to the kernel and to memory.
const QUICK: Duration = Duration::from_secs(15);
/// Dirty pages on a slow stick.
const DISK: Duration = Duration::from_mins(1);

/// All phases; the caller ends the machine's run after them.
pub const PHASES: [Phase; 4] = [
    Phase {
        name: "stop services",
        when: When::Always,
        limit: SERVICES,
        without: "the remaining processes are killed",
    },
    Phase {
        name: "stop network",
        when: When::Always,
        limit: QUICK,
        without: "the address is not given back",
    },
    Phase { name: "kill processes", when: When::Always, limit: QUICK, without: "file systems may stay busy" },
    Phase {
        name: "unmount state",
        when: When::Always,
        limit: DISK,
        without: "the state partition is checked at the next boot",
    },
];

/// Every process but PID 1 itself (kill(2)).
const EVERYTHING: Pid = Pid::from_raw(-1);

/// Ends what the boot has started.
pub async fn run(context: &Context, Booted { plane, network }: Booted) {
    let [stop_services, stop_network, kill_processes, unmount_state] = PHASES;
    // Nothing stops a shutdown but a request to force it, which drops it.
    let (_never, stop) = watch::channel(false);
    let mut shutdown = Sequence::new(context, &PHASES, stop);
    shutdown.run(stop_services, plane::stop(context.clone(), plane)).await;
    let end = move |_: &Context| {
        network.iter().for_each(Network::stop);
        Ok(())
    };
    shutdown.call(stop_network, end).await;
    shutdown.call(kill_processes, |_| kill_everything()).await;
    shutdown.run(unmount_state, mounts::unmount_state(context.clone())).await;
}

/// Kills daemonised descendants that no service knows. Only as PID 1, where "everything" is what is ours.
fn kill_everything() -> Outcome {
    if std::process::id() != 1 {
        return Ok(());
    }
    match kill(EVERYTHING, Signal::SIGKILL) {
        // Nobody is left.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
