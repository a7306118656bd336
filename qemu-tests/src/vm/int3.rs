//! A fault of QEMU 7.2 under load: Linux patches its code in steps, with an `int3` first, and a processor that another
//! host thread emulates runs into that `int3` after the patch is done. The kernel of the guest panics.
//!
//! Only what the console says is judged; any other panic is the guest's own.

use crate::{
    console::{Console, Follower},
    patience::POLL,
};

/// How often the boot of one power-on is repeated.
pub const REPEATS: usize = 2;
/// In the head of the report; the number that follows counts the reports since the kernel's start.
const REPORT: &str = "int3: 0000 [#";
/// The end of a kernel that cannot go on.
const PANIC: &str = "Kernel panic - not syncing: ";

/// Recognises the fault in the lines of a console, as they come.
#[derive(Debug, Default)]
pub struct Fault {
    reported: bool,
}

impl Fault {
    /// Takes the next line; true when the kernel has panicked because of the fault.
    pub fn takes(&mut self, line: &str) -> bool {
        if line.contains(REPORT) {
            self.reported = true;
        }
        let panicked = line.contains(PANIC);
        let found = panicked && self.reported;
        // The next kernel begins anew.
        self.reported &= !panicked;
        found
    }
}

/// Watches the console of one power-on.
#[derive(Debug)]
pub struct Watch {
    follower: Follower,
    fault: Fault,
    machine: String,
    repeats: usize,
}

impl Watch {
    /// Watches from the power-on on.
    pub fn new(machine: &str, console: &Console) -> Self {
        Self { follower: console.follow(), fault: Fault::default(), machine: machine.to_owned(), repeats: 0 }
    }

    /// Waits until a kernel has panicked because of the fault and its boot is to be repeated, and says so. It never
    /// returns once the boot was repeated often enough.
    pub async fn repeat(&mut self) {
        loop {
            let lines = self.follower.lines();
            if lines.iter().filter(|line| self.fault.takes(line)).count() > 0 && self.repeats < REPEATS {
                self.repeats += 1;
                eprintln!(
                    "lab: {}: QEMU's emulation ran into code that the kernel was patching (int3): boot repeated, {} of \
                     {REPEATS}",
                    self.machine, self.repeats
                );
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Of Linux 6.12 under QEMU 7.2 on a busy host, while its static keys were switched.
    const RECORDED: &str = include_str!("int3.log");

    fn count(log: &str) -> usize {
        let mut fault = Fault::default();
        log.lines().filter(|line| fault.takes(line)).count()
    }

    #[test]
    fn the_recorded_panic_is_recognised_each_time_it_happens() {
        assert_eq!(count(RECORDED), 1);
        assert_eq!(count(&format!("{RECORDED}Linux version 6.12\n{RECORDED}")), 2);
    }

    #[test]
    fn a_panic_of_another_cause_is_the_guests_own() {
        let other = RECORDED.replace("Oops: int3: 0000", "Oops: invalid opcode: 0000");
        assert_eq!(count(&other), 0);
        // The report of an earlier kernel does not excuse the panic of a later one.
        assert_eq!(count(&format!("{RECORDED}{other}")), 1);
        let survived = RECORDED.replace("Kernel panic", "");
        assert_eq!(count(&survived), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_boot_is_repeated_twice_and_then_no_more() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut watch = Watch::new("uefi-1", &Console::whole(file.path()));
        for repeated in [true, true, false] {
            file.write_all(RECORDED.as_bytes()).expect("a write");
            let answer = tokio::time::timeout(std::time::Duration::from_secs(5), watch.repeat()).await;
            assert_eq!(answer.is_ok(), repeated);
        }
    }
}
