//! A control group per service, so that its end is the end of everything it has started.
//!
//! Version 2 only, wherever it is mounted (alone, or beside version 1 on hybrid hosts); without one, process
//! groups have to do. It must never touch a group that it has not made.

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
        Self { parent }
    }

    /// No groups at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there are groups.
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
    pub fn group(&self, service: &str) -> Option<PathBuf> {
        let group = self.parent.as_ref()?.join(service);
        match make(&group) {
            Ok(()) => Some(group),
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
