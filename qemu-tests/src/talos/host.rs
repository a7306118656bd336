//! What this host lets a node do: looked at, never assumed. The work-arounds follow from it.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The capability without which no process may lower its `oom_score_adj` or raise its limits (capabilities(7)).
const CAP_SYS_RESOURCE: u32 = 24;

/// A mounted hierarchy of control groups, with this process's place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Options by which it is mounted (`cpu,cpuacct`, `none,name=systemd`); empty for version 2.
    pub options: String,
    /// Name of its folder in `/sys/fs/cgroup`.
    pub name: String,
    /// The folder of this process's group.
    pub own: PathBuf,
}

/// What a node finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Hierarchies of version 1; none where all is version 2.
    pub v1: Vec<Hierarchy>,
    /// Version 2: by it nodes are killed and frozen. On a host with version 1 it has no controllers that matter.
    pub v2: Hierarchy,
    /// Whether root here has `CAP_SYS_RESOURCE`.
    pub may_raise: bool,
}

impl Host {
    /// Looks.
    ///
    /// # Errors
    /// This is not root, or there is no cgroup2.
    pub fn look() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("failed to run Talos in namespaces: only root may make control groups");
        }
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
        let hierarchies = hierarchies(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let (v2, v1): (Vec<_>, Vec<_>) =
            hierarchies.into_iter().partition(|hierarchy| hierarchy.options.is_empty());
        let v2 = v2.into_iter().next();
        let v2 = v2.context("failed to run Talos in namespaces: this host has no cgroup2 mounted")?;
        let may_raise = has_capability(&read("/proc/self/status")?, CAP_SYS_RESOURCE);
        Ok(Self { v1, v2, may_raise })
    }

    /// Whether nodes see control groups of version 1.
    pub fn is_v1(&self) -> bool {
        !self.v1.is_empty()
    }
}

/// The hierarchies of the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let places: Vec<(&str, &str)> = own
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    let mount = |(options, path): (&str, &str)| {
        let line = mounts.lines().find_map(|line| mounted(line, options))?;
        let (root, folder) = line;
        let inside = Path::new(path).strip_prefix(root).ok()?;
        let name = Path::new(folder).file_name()?.to_str()?.to_owned();
        let options = match options.strip_prefix("name=") {
            Some(_) => format!("none,{options}"),
            None => options.to_owned(),
        };
        Some(Hierarchy { options, name, own: Path::new(folder).join(inside) })
    };
    places.into_iter().filter_map(mount).collect()
}

/// Root and folder of the mount in `line`, if it is the hierarchy with these controllers.
fn mounted<'a>(line: &'a str, options: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let (kind, own) = (after.next()?, after.nth(1)?);
    let fits = match kind {
        "cgroup2" => options.is_empty(),
        "cgroup" => {
            !options.is_empty()
                && options.split(',').all(|option| own.split(',').any(|other| other == option))
        }
        _ => false,
    };
    let mut before = before.split(' ').skip(3);
    fits.then(|| before.next().zip(before.next())).flatten()
}

/// Whether the text of `/proc/self/status` has this effective capability.
fn has_capability(status: &str, capability: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    set.is_some_and(|set| set & (1 << capability) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(options: &str, name: &str, own: &str) -> Hierarchy {
        Hierarchy { options: options.to_owned(), name: name.to_owned(), own: PathBuf::from(own) }
    }

    #[test]
    fn a_hybrid_host_has_both_versions() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 /box /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/\n4:memory:/box/a/b\n1:cpu,cpuacct:/x\n0::/y\n";
        assert_eq!(
            hierarchies(mounts, own),
            [
                hierarchy("none,name=systemd", "systemd", "/sys/fs/cgroup/systemd"),
                hierarchy("memory", "memory", "/sys/fs/cgroup/memory/a/b"),
                hierarchy("cpu,cpuacct", "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x"),
                hierarchy("", "unified", "/sys/fs/cgroup/unified/y"),
            ]
        );
    }

    #[test]
    fn a_host_of_today_has_version_two_alone() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/session-1.scope\n";
        let v2 = hierarchy("", "cgroup", "/sys/fs/cgroup/user.slice/session-1.scope");
        assert_eq!(hierarchies(mounts, own), [v2]);
        // Listed, and mounted nowhere.
        assert_eq!(hierarchies("", "3:pids:/\n0::/\n"), []);
    }

    #[test]
    fn a_capability_is_a_bit_of_the_effective_set() {
        let status = |set: &str| format!("CapInh:\t0000000000000000\nCapEff:\t{set}\n");
        assert!(!has_capability(&status("000001fffeffffff"), CAP_SYS_RESOURCE));
        assert!(has_capability(&status("000001ffffffffff"), CAP_SYS_RESOURCE));
        assert!(!has_capability("", CAP_SYS_RESOURCE));
    }
}
