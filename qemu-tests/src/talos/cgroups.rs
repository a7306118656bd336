//! A node's control groups: one in each hierarchy of the host. By them it is killed, frozen and slowed down.
//!
//! Only groups that are named after the node are ever touched.

use super::host::{Hierarchy, Host};
use crate::{eventually, patience::POLL};
use anyhow::{Context, Result, bail};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Controllers without which no kubelet starts, where they have to be handed down (version 2).
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// Killed processes are gone within milliseconds; a busy host has many of them.
const EMPTY_LIMIT: Duration = Duration::from_secs(30);

/// The groups of one node.
#[derive(Debug, Clone)]
pub struct Groups {
    v1: Vec<PathBuf>,
    v2: PathBuf,
}

impl Groups {
    /// The groups `name` on `host`; nothing is made.
    pub fn new(host: &Host, name: &str) -> Self {
        let below = |hierarchy: &Hierarchy| hierarchy.own.join(name);
        // A group of version 2 that has processes hands nothing down, but for the first one.
        let v2 = if host.is_v1() { below(&host.v2) } else { Path::new("/sys/fs/cgroup").join(name) };
        Self { v1: host.v1.iter().map(below).collect(), v2 }
    }

    /// Makes them, empty.
    ///
    /// # Errors
    /// The host does not let us, or something still runs in them.
    pub fn make(&self) -> Result<()> {
        self.remove()?;
        if self.v1.is_empty() {
            hand_down(self.v2.parent().unwrap_or(Path::new("/sys/fs/cgroup")))?;
        }
        for group in self.all() {
            fs::create_dir_all(group).with_context(|| format!("failed to make {}", group.display()))?;
            let parent = group.parent().unwrap_or(group);
            // A new group of version 1 has no processors and no memory until it is told.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if group.join(file).exists() && !self.v1.is_empty() && parent.join(file).exists() {
                    let text = read(&parent.join(file))?;
                    write(&group.join(file), &text)?;
                }
            }
        }
        Ok(())
    }

    /// Moves this process into them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self) -> Result<()> {
        self.all().try_for_each(|group| write(&group.join("cgroup.procs"), "0"))
    }

    /// Kills all that is in them, at once.
    ///
    /// # Errors
    /// The kernel refuses, or something does not go.
    pub async fn kill(&self) -> Result<()> {
        if !self.v2.is_dir() {
            return Ok(());
        }
        // Frozen processes of version 2 die as well.
        write(&self.v2.join("cgroup.kill"), "1")?;
        eventually!("the node's processes are gone", EMPTY_LIMIT, None, async { self.is_empty() })?;
        // Some groups need a moment more until the last process has left them.
        let mut tries = 0;
        while let Err(error) = self.remove() {
            tries += 1;
            if tries > 25 {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<Option<()>> {
        let events = read(&self.v2.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line == "populated 0").then_some(()))
    }

    /// Stops all processes (`true`) or lets them go on: a machine that hangs.
    ///
    /// # Errors
    /// It is off.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        write(&self.v2.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    /// Lets the node do only so many operations a second on the block device `MAJOR:MINOR`; none lifts the limit.
    ///
    /// # Errors
    /// The host has no controller for it, or the node is off.
    pub fn slow_disk(&self, device: &str, operations: Option<u32>) -> Result<()> {
        let files = ["blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"];
        let v1 = self.v1.iter().find(|group| group.join(files[0]).exists());
        if let Some(group) = v1 {
            // Zero takes a limit away.
            let text = format!("{device} {}", operations.unwrap_or_default());
            // Version 1 limits each group alone: those that the node makes later are not slowed.
            return below(group)?
                .iter()
                .try_for_each(|group| files.iter().try_for_each(|file| write(&group.join(file), &text)));
        }
        let file = self.v2.join("io.max");
        if !file.exists() {
            bail!("failed to slow the node's disk: this host has no controller for it");
        }
        let limit = operations.map_or_else(|| "max".to_owned(), |operations| operations.to_string());
        write(&file, &format!("{device} riops={limit} wiops={limit}"))
    }

    /// Removes them with all groups below, which a node that was killed leaves.
    ///
    /// # Errors
    /// Something still runs in them.
    pub fn remove(&self) -> Result<()> {
        self.all().try_for_each(|group| {
            remove(group).with_context(|| format!("failed to remove the control group {}", group.display()))
        })
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().chain([&self.v2]).map(PathBuf::as_path)
    }
}

/// Lets groups below `parent` have the controllers that nodes need.
fn hand_down(parent: &Path) -> Result<()> {
    let has = read(&parent.join("cgroup.subtree_control"))?;
    let missing = NEEDED.iter().filter(|controller| !has.split_whitespace().any(|name| name == **controller));
    for controller in missing {
        write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"))
            .with_context(|| format!("failed to give nodes the controller {controller}"))?;
    }
    Ok(())
}

/// The group and all groups below it.
fn below(group: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("failed to list {}", group.display());
    let mut all = vec![group.to_owned()];
    for entry in fs::read_dir(group).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if entry.file_type().with_context(failed)?.is_dir() {
            all.extend(below(&entry.path())?);
        }
    }
    Ok(all)
}

fn remove(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {:?} to {}", text.trim(), path.display()))
}
