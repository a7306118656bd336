//! The state partition, opened from the real root before the real init starts: mkfs and fsck are there.
//!
//! Must never let anything start afresh on top of a damaged state: then /var is an empty file system that nobody can
//! write to, which the real init understands as damage.

use std::path::Path;

use bloomery_sys::block::Sysfs;
use bloomery_sys::mount::{Flags, Mount};

use super::console::EarlyConsole;
use crate::disk::{self, Failure, How, Outcome};
use bloomery_base::chain;

/// Where the state belongs.
const STATE: &str = "/var";
/// What was found, for whoever wants to show it later: one line.
const REPORT: &str = "/run/state-report";

/// Opens it, and says what became of it.
pub(super) fn open(console: &EarlyConsole) {
    let request = disk::Request { root: "/".into(), mount_at: STATE.into(), sysfs: Sysfs::default() };
    let outcome = disk::open_state(&request);
    let line = describe(&outcome);
    match &outcome {
        Outcome::Mounted { how: How::Found, warnings, .. } if warnings.is_empty() => console.log(&line),
        Outcome::Mounted { .. } => console.say(&line),
        Outcome::NoPlace(_) => {
            console.say(&line);
            console.say("  what to do: use a disk or stick with at least 1 GiB more than the image");
        }
        Outcome::Damaged(failure) => {
            console.say(&line);
            console.say(&format!("  what to do: {}", advice(failure)));
            forbid(console);
        }
    }
    if let Err(error) = std::fs::write(REPORT, format!("{line}\n")) {
        console.log(&format!("{REPORT}: {error}"));
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Mounted { node, how, warnings } => {
            let how = match how {
                How::Found => "found",
                How::Created => "made",
                How::Finished => "finished",
                How::Adopted => "found again after flashing, with what it held",
            };
            let text = format!("state partition {}: {how}", node.display());
            warnings.iter().fold(text, |text, warning| text + "; warning: " + warning)
        }
        Outcome::NoPlace(failure) => format!("no state partition: {}", chain(failure)),
        Outcome::Damaged(failure) => format!("the state is damaged, and left as it is: {}", chain(failure)),
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Ambiguous { .. } => "disconnect the disks that do not belong to this machine, and restart",
        Failure::Tool { .. } | Failure::Mount { .. } => {
            "check the file system on another computer (e2fsck), or restore a backup onto a newly flashed disk"
        }
        Failure::Node { .. } => "restart the machine",
        Failure::NoDisk
        | Failure::NoRoom { .. }
        | Failure::Table { .. }
        | Failure::Disk { .. }
        | Failure::Block { .. }
        | Failure::Run { .. } => {
            "check the disk; to give the state up, erase the whole disk and flash the image again"
        }
    }
}

/// Makes the place of the state one that nobody can write to.
fn forbid(console: &EarlyConsole) {
    let nothing = Mount {
        source: Path::new("damaged"),
        target: Path::new(STATE),
        fstype: "tmpfs",
        flags: Flags::MS_RDONLY | Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC,
        data: "size=4k",
    };
    if let Err(error) = nothing.mount() {
        console.say(&chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_became_of_the_state() {
        let mounted = Outcome::Mounted {
            node: "/dev/vda5".into(),
            how: How::Created,
            warnings: vec!["one".into(), "two".into()],
        };
        assert_eq!(describe(&mounted), "state partition /dev/vda5: made; warning: one; warning: two");
        let damaged =
            Outcome::Damaged(Failure::Table { disk: "/dev/vda".into(), source: disk::Damage::Overlap(3, 5) });
        assert_eq!(
            describe(&damaged),
            "the state is damaged, and left as it is: failed to find the state on /dev/vda: partitions 3 and 5 overlap"
        );
        assert!(
            describe(&Outcome::NoPlace(Failure::NoDisk)).starts_with("no state partition: failed to find")
        );
    }
}
