//! From a disk to a mounted state, step by step as [`super::decide`] says.
//!
//! Must never go on after a step that failed, and never write before the decision.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bloomery_sys::block::{self, Partition, Sysfs};
use bloomery_sys::mount::{Flags, Mount};

use super::decide::{Content, Decision, STATE, decide};
use super::gpt::{Copies, Entry, Geometry, write_table};
use super::steps::{Steps, heal};
use super::{Failure, How, Outcome, locate, superblock, tools};

/// What to open and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the running root is mounted; its disk is the one that holds the state. Normally `/`.
    pub root: PathBuf,
    /// Where to mount the state.
    pub mount_at: PathBuf,
    /// The view of block devices.
    pub sysfs: Sysfs,
}

/// Options of the state's mount: it holds data only, and an error must not spread.
const STATE_FLAGS: Flags =
    Flags::MS_NOSUID.union(Flags::MS_NODEV).union(Flags::MS_NOEXEC).union(Flags::MS_NOATIME);
const STATE_OPTIONS: &str = "errors=remount-ro";

/// Finds, makes if there provably is none, checks and mounts the state. Blocks: seconds on a first boot, minutes where
/// a large disk must be checked.
pub fn open_state(request: &Request) -> Outcome {
    let mut warnings = Vec::new();
    match choose(request, &mut warnings) {
        Ok((node, how)) => match check_and_mount(&node, &request.mount_at, &mut warnings) {
            Ok(()) => Outcome::Mounted { node, how, warnings },
            Err(failure) => Outcome::Damaged(failure),
        },
        Err(failure @ (Failure::NoDisk | Failure::NoRoom { .. })) => Outcome::NoPlace(failure),
        Err(failure) => Outcome::Damaged(failure),
    }
}

/// The partition to check and mount.
fn choose(request: &Request, warnings: &mut Vec<String>) -> Result<(PathBuf, How), Failure> {
    let Some(root) = locate::partition_of(&request.sysfs, &request.root) else {
        return elsewhere(&request.sysfs, None)?.ok_or(Failure::NoDisk);
    };
    let node = root.disk_node();
    let disk = Disk::open(&node, &root.disk)?;
    let copies = disk.read_copies();
    let decision = disk.decide(&copies);
    tracing::info!(disk = %node.display(), decision = ?decision, "state partition decided");
    if matches!(decision, Decision::Create(_) | Decision::NoRoom { .. })
        && let Some(other) = elsewhere(&request.sysfs, Some(&root.disk))?
    {
        warnings.push(format!("the state is on {}, not on the disk {}", other.0.display(), node.display()));
        return Ok(other);
    }
    let done = disk.carry_out(decision, &copies, &request.sysfs)?;
    if let Err(error) = heal(&disk.file, disk.geometry) {
        warnings.push(format!("the partition table of {} could not be repaired: {error}", node.display()));
    }
    Ok(done)
}

/// The only partition named `state` on a disk other than `boot_disk`.
fn elsewhere(sysfs: &Sysfs, boot_disk: Option<&str>) -> Result<Option<(PathBuf, How)>, Failure> {
    let mut others: Vec<Partition> = sysfs.partitions_named(STATE);
    others.retain(|partition| Some(partition.disk.as_str()) != boot_disk && holds_state(partition));
    match others.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((only.node.clone(), How::Found))),
        several => Err(Failure::Ambiguous {
            nodes: several.iter().map(|partition| partition.node.clone()).collect(),
        }),
    }
}

/// Whether a partition holds our file system. Other systems have partitions of this name too.
fn holds_state(partition: &Partition) -> bool {
    File::open(&partition.node).is_ok_and(
        |file| matches!(superblock::probe(&file, 0), Content::Ext4 { label, .. } if label == STATE),
    )
}

fn check_and_mount(node: &Path, target: &Path, warnings: &mut Vec<String>) -> Result<(), Failure> {
    if tools::check(node)? {
        warnings.push(format!("errors of the file system on {} were corrected", node.display()));
    }
    Mount { source: node, target, fstype: "ext4", flags: STATE_FLAGS, data: STATE_OPTIONS }
        .mount()
        .map_err(|source| Failure::Mount { node: node.into(), source })
}

/// The disk that is worked on.
struct Disk {
    file: File,
    node: PathBuf,
    /// The kernel's name.
    name: String,
    geometry: Geometry,
}

impl Disk {
    fn open(node: &Path, name: &str) -> Result<Self, Failure> {
        let failed = |source| Failure::Disk { what: "open", disk: node.into(), source };
        let file = OpenOptions::new().read(true).write(true).open(node).map_err(failed)?;
        let geometry = geometry(&file).map_err(|source| Failure::Block { disk: node.into(), source })?;
        Ok(Self { file, node: node.into(), name: name.to_owned(), geometry })
    }

    fn read_copies(&self) -> Copies {
        let copies = Copies::read(&self.file, self.geometry);
        match (&copies.primary, &copies.backup) {
            (Err(error), Err(_)) => {
                tracing::error!(disk = %self.node.display(), %error, "no valid partition table");
            }
            (Err(error), Ok(_)) => {
                tracing::warn!(disk = %self.node.display(), %error, "primary partition table is not valid");
            }
            (Ok(_), _) => {}
        }
        copies
    }

    fn decide(&self, copies: &Copies) -> Decision {
        decide(copies, &|lba| superblock::probe(&self.file, self.geometry.offset(lba)))
    }

    /// Does what was decided; the kernel learns of a new partition before it is formatted.
    fn carry_out(
        &self,
        decision: Decision,
        copies: &Copies,
        sysfs: &Sysfs,
    ) -> Result<(PathBuf, How), Failure> {
        let (entry, how) = Steps { storage: &self.file, geometry: self.geometry, disk: &self.node }
            .carry_out(decision, copies, &mut |entry| {
                let node = self.partition_node(entry, sysfs)?;
                tools::format(&node)?;
                let synced = File::open(&node).and_then(|partition| partition.sync_all());
                synced.map_err(|source| Failure::Disk { what: "write", disk: node.clone(), source })
            })?;
        Ok((self.partition_node(&entry, sysfs)?, how))
    }

    /// The node of a partition; the kernel is told about it where it does not know it yet.
    fn partition_node(&self, entry: &Entry, sysfs: &Sysfs) -> Result<PathBuf, Failure> {
        if let Some(known) = self.known(entry.number, sysfs) {
            return self.matching(&known, entry);
        }
        let (start, length) = self.range(entry);
        block::add_partition(&self.file, entry.number, start, length)
            .map_err(|source| Failure::Block { disk: self.node.clone(), source })?;
        let known = self.known(entry.number, sysfs);
        known.map_or_else(
            || Err(Failure::Node { disk: self.node.clone(), number: entry.number }),
            |known| self.matching(&known, entry),
        )
    }

    fn known(&self, number: u32, sysfs: &Sysfs) -> Option<Partition> {
        sysfs.partitions().into_iter().find(|known| known.disk == self.name && known.number == number)
    }

    fn matching(&self, known: &Partition, entry: &Entry) -> Result<PathBuf, Failure> {
        if (known.start, known.size) == self.range(entry) {
            Ok(known.node.clone())
        } else {
            Err(Failure::Node { disk: self.node.clone(), number: entry.number })
        }
    }

    /// First byte and length in bytes.
    fn range(&self, entry: &Entry) -> (u64, u64) {
        (self.geometry.offset(entry.first), self.geometry.offset(entry.sectors()))
    }
}

/// The shape of a disk, or of a file that stands for one.
pub(super) fn geometry(file: &File) -> Result<Geometry, block::Error> {
    let sector = block::sector_size(file)?;
    let sectors = block::size(file)?.checked_div(u64::from(sector)).unwrap_or(0);
    Ok(Geometry { sector, sectors })
}

/// Puts the primary copy of a disk's table back where only the backup is valid, if the table names `partition`.
///
/// The kernel looks at a backup only where its command line says `gpt`; without that a cut between two sectors of the
/// primary would hide the root. Returns whether anything was written.
pub fn heal_table(node: &Path, partition: &str) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).open(node)?;
    let geometry = geometry(&file).map_err(io::Error::other)?;
    let copies = Copies::read(&file, geometry);
    match (&copies.primary, &copies.backup) {
        (Err(_), Ok(backup)) if backup.partitions().iter().any(|entry| entry.name == partition) => {
            write_table(&file, geometry, backup)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
