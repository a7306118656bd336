//! CPU time of processes (`proc_pid_stat(5)`).

use std::collections::BTreeMap;

use anyhow::Context as _;

/// Clock ticks in a second (`sysconf(_SC_CLK_TCK)` is 100 on every Linux).
const TICKS: f64 = 100.0;
/// Fields after the name's closing bracket: state is the first, user and system time the twelfth and thirteenth.
const USER_TIME: usize = 11;

/// CPU seconds by program.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage(BTreeMap<String, f64>);

impl Usage {
    /// Adds a process: the text of its `/proc/PID/stat`.
    pub(crate) fn add(&mut self, program: &str, stat: &str) -> anyhow::Result<()> {
        *self.0.entry(program.to_owned()).or_default() += seconds(stat)?;
        Ok(())
    }

    /// What was used after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |name: &String| before.0.get(name).copied().unwrap_or_default();
        Self(
            self.0.iter().map(|(name, seconds)| (name.clone(), (seconds - earlier(name)).max(0.0))).collect(),
        )
    }

    /// Seconds of all together.
    pub(crate) fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Each divided by `parts`; programs that did next to nothing are left out.
    pub(crate) fn per(&self, parts: f64) -> BTreeMap<String, f64> {
        self.0
            .iter()
            .filter(|(_, seconds)| **seconds > 0.05)
            .map(|(name, s)| (name.clone(), s / parts))
            .collect()
    }
}

/// CPU time of a process without its children, seconds: of the text of its `/proc/PID/stat`.
pub(crate) fn seconds(stat: &str) -> anyhow::Result<f64> {
    let after_name =
        stat.rsplit_once(')').map(|(_, rest)| rest).context("failed to read a process's times")?;
    let mut fields = after_name.split_ascii_whitespace().skip(USER_TIME);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let (user, system) = ticks().zip(ticks()).context("failed to read a process's times")?;
    Ok((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name_and_subtracted() {
        let stat = |user: u32| format!("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 {user} 50 0 0\n");
        let (mut before, mut after) = (Usage::default(), Usage::default());
        before.add("etcd", &stat(100)).unwrap();
        after.add("etcd", &stat(250)).unwrap();
        after.add("etcd", &stat(50)).unwrap();
        let used = after.since(&before);
        assert!((used.total() - 2.5).abs() < 1e-9, "{used:?}");
        assert!((used.per(10.0)["etcd"] - 0.25).abs() < 1e-9);
        assert!(before.add("x", "7 (a) S 1").is_err());
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(Usage::default().add("own", &own).is_ok());
    }
}
