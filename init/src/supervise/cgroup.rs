//! A control group per service, so that its end is the end of everything it has started.
//!
//! Version 2 only, wherever it is mounted (alone, or beside version 1 on hybrid hosts); without one, process
//! groups have to do. It must never touch a group that it has not made.

use super::limits::{MemoryLimit, total_memory};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a pure version 2 tree is, and where hybrid hosts put theirs.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Our groups are below this one, so that nothing else in the tree is ours.
const PARENT: &str = "bloomery";
/// Tells one container from another where both see the same tree.
const NAMESPACE: &str = "/proc/self/ns/pid";

/// The tree to make groups in, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Cgroups {
    parent: Option<PathBuf>,
    /// Whether the kernel counts the memory of our groups.
    counts_memory: bool,
    /// The machine's memory, in octets.
    total_memory: u64,
}

impl Cgroups {
    /// Looks for a version 2 tree that can be written to. A container may share it with others, whose services must
    /// never be ended with ours.
    pub fn detect(container: bool) -> Self {
        if container {
            let namespace = fs::metadata(NAMESPACE).map_or(0, |metadata| metadata.ino());
            Self::named(&format!("{PARENT}-{namespace}"))
        } else {
            Self::named(PARENT)
        }
    }

    /// The same, with a parent group of this name.
    pub fn named(parent: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own_path(&own);
        let parent = MOUNTS.iter().find_map(|mount| {
            // Only version 2 has this file in every group but on hybrid trees' version 1 side.
            let base = Path::new(mount).join(own.trim_start_matches('/'));
            (base.join("cgroup.procs").exists() && Path::new(mount).join("cgroup.controllers").exists())
                .then(|| make_parent(&base.join(parent)))
                .flatten()
        });
        if parent.is_none() {
            tracing::info!("no control groups; services are ended by process group");
        }
        let counts_memory = parent.as_deref().is_some_and(|parent| match hand_down_memory(parent) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "no memory limits of groups; each process has one of its own");
                false
            }
        });
        Self { parent, counts_memory, total_memory: total_memory() }
    }

    /// Octets that a service may use on this machine.
    pub fn memory_max(&self, limit: MemoryLimit) -> u64 {
        limit.max(self.total_memory)
    }

    /// The limit of each process's private memory, where the kernel does not count that of groups.
    pub fn data_segment(&self, limit: MemoryLimit) -> Option<u64> {
        (!self.counts_memory).then(|| limit.data_segment(self.total_memory))
    }

    /// Whether groups have limits of memory.
    pub fn limit_memory(&self) -> bool {
        self.counts_memory
    }

    pub fn none() -> Self {
        Self { total_memory: total_memory(), ..Self::default() }
    }

    pub fn are_there(&self) -> bool {
        self.parent.is_some()
    }

    /// Takes the service's group away, and with the last one their parent. Groups with processes in them stay.
    pub fn remove(&self, service: &str) {
        if let Some(parent) = &self.parent {
            // Refused while anything is in them, which is what is wanted.
            drop(fs::remove_dir(parent.join(service)));
            drop(fs::remove_dir(parent));
        }
    }

    /// The service's group, made if need be; none where there are no groups.
    pub fn group(&self, service: &str, memory: MemoryLimit) -> Option<PathBuf> {
        let group = self.parent.as_ref()?.join(service);
        match make(&group) {
            Ok(()) => {
                if self.counts_memory
                    && let Err(error) = limit_memory(&group, memory, self.total_memory)
                {
                    tracing::warn!(service, %error, "no memory limit; the service goes on without");
                }
                Some(group)
            }
            Err(error) => {
                tracing::warn!(service, %error, "no control group; the service goes on without");
                None
            }
        }
    }
}

fn make_parent(parent: &Path) -> Option<PathBuf> {
    make(parent).ok().map(|()| parent.to_owned())
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Has the kernel count the memory of the groups below `parent`.
fn hand_down_memory(parent: &Path) -> io::Result<()> {
    for group in parent.parent().into_iter().chain([parent]) {
        let control = group.join("cgroup.subtree_control");
        // The groups above may be another's, who has done it already and keeps us from it.
        let done = fs::read_to_string(&control)?.split_ascii_whitespace().any(|name| name == "memory");
        if !done {
            fs::write(&control, "+memory")?;
        }
    }
    Ok(())
}

/// A group is killed as a whole: half a service is none.
fn limit_memory(group: &Path, limit: MemoryLimit, total: u64) -> io::Result<()> {
    fs::write(group.join("memory.high"), limit.high(total).to_string())?;
    fs::write(group.join("memory.max"), limit.max(total).to_string())?;
    fs::write(group.join("memory.oom.group"), "1")
}

/// The path of this process in the version 2 tree, out of /proc/self/cgroup.
fn own_path(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_place_on_pure_and_hybrid_hosts() {
        assert_eq!(own_path("0::/a/b\n"), "/a/b");
        assert_eq!(own_path("9:name=systemd:/x\n1:cpu:/\n0::/y\n"), "/y");
        assert_eq!(own_path("1:cpu:/\n"), "/");
    }
}
