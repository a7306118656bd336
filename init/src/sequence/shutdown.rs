//! The shutdown, top to bottom.

use super::{Phase, When, tasks};
use std::time::Duration;

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
        run: tasks::stop_services::run,
        without: "the remaining processes are killed",
    },
    Phase {
        name: "stop network",
        when: When::Always,
        limit: QUICK,
        run: tasks::stop_network::run,
        without: "the address is not given back",
    },
    Phase {
        name: "kill processes",
        when: When::Always,
        limit: QUICK,
        run: tasks::kill_processes::run,
        without: "file systems may stay busy",
    },
    Phase {
        name: "unmount state",
        when: When::Always,
        limit: DISK,
        run: tasks::unmount_state::run,
        without: "the state partition is checked at the next boot",
    },
];
