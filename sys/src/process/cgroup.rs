//! Control groups, version 2, as far as ending a service needs them. Only the given group is touched.

use std::io;
use std::path::Path;

/// Kills every process of the group and of those below (`cgroup.kill`, Linux 5.14), forks in flight included.
pub fn kill(directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join("cgroup.kill"), "1")
}

/// Whether any process is left in the group or below.
pub fn is_populated(directory: &Path) -> io::Result<bool> {
    let events = std::fs::read_to_string(directory.join("cgroup.events"))?;
    Ok(events.lines().any(|line| line == "populated 1"))
}

/// How many processes of the group the kernel has killed for want of memory; 0 where it does not count.
pub fn oom_kills(directory: &Path) -> u64 {
    let events = std::fs::read_to_string(directory.join("memory.events")).unwrap_or_default();
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whether_processes_are_left() {
        let dir = tempfile::tempdir().unwrap();
        for (events, expected) in [("populated 1\nfrozen 0\n", true), ("populated 0\nfrozen 1\n", false)] {
            std::fs::write(dir.path().join("cgroup.events"), events).unwrap();
            assert_eq!(is_populated(dir.path()).unwrap(), expected);
        }
        assert!(is_populated(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn counts_what_the_kernel_has_killed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(oom_kills(dir.path()), 0);
        std::fs::write(dir.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
            .unwrap();
        assert_eq!(oom_kills(dir.path()), 2);
    }
}
