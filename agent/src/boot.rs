//! The first steps of PID 1: the kernel's file systems, the log, ctrl-alt-del.
//!
//! It must never end the boot: what fails is said, and the rest goes on.

use bloomery_base::chain;
use bloomery_sys::{kmsg, mount, power};

/// Mounts, opens the log and takes over ctrl-alt-del; returns what did not work, for the console.
pub fn prepare() -> Vec<String> {
    let mut complaints: Vec<String> = mount::mount_api_file_systems(false)
        .into_iter()
        .filter_map(|mounted| mounted.error)
        .map(|error| chain(&error))
        .collect();
    let _ = kmsg::lift_rate_limit();
    match kmsg::Kmsg::open() {
        Ok(log) => {
            let format = tracing_subscriber::fmt().with_ansi(false).without_time().with_level(false);
            let _ = format.with_writer(log).try_init();
        }
        Err(error) => complaints.push(format!("failed to open the kernel's log: {error}")),
    }
    if let Err(error) = power::disable_ctrl_alt_del() {
        complaints.push(chain(&error));
    }
    complaints
}
