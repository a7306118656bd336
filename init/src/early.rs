//! `/init` of the initramfs: from the kernel's first process to the real root with its state.
//!
//! Loads the drivers that the disk needs, waits for the root slot that the boot loader chose, mounts it read-only,
//! makes it the root, opens the state partition with the root's own tools, and becomes `/sbin/init`.
//!
//! Must never end: the end of PID 1 is a kernel panic. What does not work is said on every console with what to do,
//! and tried again for ever; a stick may appear late.

mod command_line;
mod console;
mod root;
mod state;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bloomery_sys::mount;
use bloomery_sys::uevent::Uevents;

pub use command_line::{CommandLine, Slot};
use console::EarlyConsole;

/// The real init, below the real root.
const INIT: &str = "/sbin/init";
/// Where the real root is mounted before it becomes the root; a directory of the initramfs.
const NEW_ROOT: &str = "/sysroot";
/// `statfs` types of an initramfs: `RAMFS_MAGIC` and `TMPFS_MAGIC` of linux/magic.h.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x8584_58f6, 0x0102_1994];
/// Between attempts of what failed and may not come right by itself.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Whether this process is `/init` of an initramfs: PID 1, outside of a container, with a root in memory.
pub fn is_initramfs() -> bool {
    let in_memory = rustix::fs::statfs("/")
        .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| MEMORY_FILE_SYSTEMS.contains(&kind)));
    std::process::id() == 1 && in_memory && bloomery_sys::container::detect().is_none()
}

/// Does all that the head of this file says. Does not return: it becomes the real init.
pub fn run() -> Infallible {
    let failures: Vec<_> =
        mount::mount_early_file_systems().into_iter().filter_map(|mounted| mounted.error).collect();
    let console = EarlyConsole::open();
    for error in &failures {
        console.problem(
            "a file system of the kernel is missing",
            error,
            "the boot goes on as far as it gets",
        );
    }
    let command_line = CommandLine::read();
    let slot = command_line.slot.unwrap_or_else(|| {
        console.say("the kernel was not told which slot to start (bloomery.slot=a|b): taking a");
        Slot::A
    });
    let mut modules = root::Drivers::open(&console);
    root::wait_and_mount(slot, Path::new(NEW_ROOT), &mut modules, &console);
    modules.load_for_state(&console);
    until_done(&console, "the root could not be changed", TRY_AGAIN, || {
        mount::switch_root(Path::new(NEW_ROOT))
    });
    state::open(&console);
    console.log("starting the real init");
    loop {
        let error = Command::new(INIT).env_clear().exec();
        console.problem("the real init could not be started", &error, "flash the image again");
        wait(TRY_AGAIN);
    }
}

/// Tries until it works.
fn until_done<E: std::error::Error + 'static>(
    console: &EarlyConsole,
    what: &str,
    pause: Duration,
    mut attempt: impl FnMut() -> Result<(), E>,
) {
    while let Err(error) = attempt() {
        console.problem(what, &error, "restart the machine; flash the image again if it comes back");
        wait(pause);
    }
}

/// Lets time pass; hardware that appears ends it early.
fn wait(limit: Duration) {
    Uevents::listen().wait(limit);
}

/// Whether a root has what it takes to go on.
fn has_init(root: &Path) -> bool {
    let relative: &OsStr = Path::new(INIT).strip_prefix("/").map_or(OsStr::new(INIT), Path::as_os_str);
    // A link is enough: it may be absolute, and mean another file until the root has changed.
    root.join(relative).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_no_initramfs() {
        assert!(!is_initramfs());
    }

    #[test]
    fn what_fails_is_tried_again() {
        let (console, said) = EarlyConsole::recording();
        let mut attempts = 0;
        until_done(&console, "it did not work", Duration::ZERO, || {
            attempts += 1;
            if attempts > 1 { Ok(()) } else { Err(std::io::Error::other("cause")) }
        });
        assert_eq!(attempts, 2);
        assert!(said.borrow().concat().contains("it did not work: cause"));
    }

    #[test]
    fn an_init_may_be_an_absolute_link() {
        let root = tempfile::tempdir().unwrap();
        assert!(!has_init(root.path()));
        std::fs::create_dir(root.path().join("sbin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/nowhere-init", root.path().join("sbin/init")).unwrap();
        assert!(has_init(root.path()));
    }
}
