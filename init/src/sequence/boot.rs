//! The boot, top to bottom: what the control plane needs, the control plane, and while that starts, everything else.

use super::{Phase, When, tasks};
use std::time::Duration;

/// What only talks to the kernel and to memory.
const QUICK: Duration = Duration::from_secs(30);
/// Checking a damaged state partition on a slow stick.
const DISK: Duration = Duration::from_mins(15);
/// Drivers that wait for their devices.
const DEVICES: Duration = Duration::from_mins(2);

/// All phases. State comes before the configuration, because the last good one is on it; drivers and the network come
/// after the services, because the API server needs neither to start and takes longest.
pub const PHASES: [Phase; 13] = [
    Phase {
        name: "mounts",
        when: When::Always,
        limit: QUICK,
        run: tasks::mounts::run,
        without: "services that need the missing file system will not start; check the kernel",
    },
    Phase {
        name: "hardening",
        when: When::Always,
        limit: QUICK,
        run: tasks::hardening::run,
        without: "some of the kernel's settings are looser than they should be; see the kernel's log for which",
    },
    Phase {
        name: "state",
        when: When::Always,
        limit: DISK,
        run: tasks::state::run,
        without: "the control plane is not started on doubtful state; check the disk, or restore a backup",
    },
    Phase {
        name: "config",
        when: When::Always,
        limit: QUICK,
        run: tasks::config::run,
        without: "the last good configuration (or the default) is used; correct bloomery.yaml and restart",
    },
    Phase {
        name: "hostname",
        when: When::Always,
        limit: QUICK,
        run: tasks::hostname::run,
        without: "the kernel's host name is used",
    },
    Phase {
        name: "loopback",
        when: When::Always,
        limit: QUICK,
        run: tasks::loopback::run,
        without: "no service gets ready; restart the machine, and report this",
    },
    Phase {
        name: "logs",
        when: When::Always,
        limit: QUICK,
        run: tasks::logs::run,
        without: "services run without log files; the console shows their last lines after a crash",
    },
    Phase {
        name: "clock",
        when: When::Always,
        limit: QUICK,
        run: tasks::clock::run,
        without: "certificates may look expired or not valid yet to other machines; set the machine's clock",
    },
    Phase {
        name: "pki",
        when: When::Always,
        limit: QUICK,
        run: tasks::pki::run,
        without: "the control plane is not started; check the files in /var/lib/bloomery/pki, or restore a backup",
    },
    Phase {
        name: "services",
        when: When::Always,
        limit: QUICK,
        run: tasks::services::run,
        without: "nothing is served; restart the machine, and report this",
    },
    Phase {
        name: "modules",
        when: When::Machine,
        limit: DEVICES,
        run: tasks::modules::run,
        without: "some hardware will not work; see the kernel's log for the driver",
    },
    Phase {
        name: "network",
        when: When::Always,
        limit: QUICK,
        run: tasks::network::run,
        without: "the control plane starts on loopback; the network is tried again in the background",
    },
    Phase {
        name: "announce",
        when: When::Always,
        limit: QUICK,
        run: tasks::announce::run,
        without: "the pairing code is not shown",
    },
];
