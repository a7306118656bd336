//! Ending the machine's run. It never acts outside of PID 1, nor on the host of a container.

use rustix::io::Errno;
use rustix::process::getpid;
use rustix::system::RebootCommand;

use crate::container;

/// What is to happen to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Boot again.
    Restart,
    /// Switch the power off.
    PowerOff,
    /// Stop the processors and leave the power on.
    Halt,
}

/// Why the machine goes on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    /// Only PID 1 may end the machine's run.
    #[error("failed to {what}: process {pid} is not PID 1")]
    NotInit { what: &'static str, pid: i32 },
    /// The machine is the host's; the caller ends its own process instead.
    #[error("failed to {what}: running in a container ({manager})")]
    Container { what: &'static str, manager: String },
    /// `reboot(2)` refused.
    #[error("failed to {what}")]
    Refused { what: &'static str, source: Errno },
}

/// Ends the machine's run. File systems must have been synced and unmounted before.
///
/// Does not return on success, except for [`Action::Halt`] on some platforms.
pub fn reboot(action: Action) -> Result<(), Error> {
    let (command, what) = match action {
        Action::Restart => (RebootCommand::Restart, "restart"),
        Action::PowerOff => (RebootCommand::PowerOff, "power off"),
        Action::Halt => (RebootCommand::Halt, "halt"),
    };
    call(command, what)
}

/// Makes ctrl-alt-del a SIGINT to PID 1, so that it is an orderly restart, in place of the kernel's hard one.
pub fn disable_ctrl_alt_del() -> Result<(), Error> {
    call(RebootCommand::CadOff, "take over ctrl-alt-del")
}

fn call(command: RebootCommand, what: &'static str) -> Result<(), Error> {
    let pid = getpid().as_raw_nonzero().get();
    permit(pid, container::detect(), what)?;
    rustix::system::reboot(command).map_err(|source| Error::Refused { what, source })
}

/// Only PID 1 of a machine may.
fn permit(pid: i32, manager: Option<String>, what: &'static str) -> Result<(), Error> {
    if pid != 1 {
        return Err(Error::NotInit { what, pid });
    }
    match manager {
        Some(manager) => Err(Error::Container { what, manager }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pid_one_of_a_machine_may() {
        assert!(matches!(permit(2, None, "halt"), Err(Error::NotInit { pid: 2, .. })));
        assert!(matches!(permit(1, Some("lab".into()), "halt"), Err(Error::Container { .. })));
        assert!(permit(1, None, "halt").is_ok());
    }

    #[test]
    fn a_test_process_cannot_reboot_the_host() {
        assert!(matches!(reboot(Action::Restart), Err(Error::NotInit { .. })));
        assert!(matches!(disable_ctrl_alt_del(), Err(Error::NotInit { .. })));
    }
}
