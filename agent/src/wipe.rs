//! Erasing all disks of this machine, each in a thread of its own, and saying of each what became of it.
//!
//! It must never start without a [`WipeOrder`], never call a machine wiped while one disk is not, and never let one
//! disk hold up or end the work on another. All raw requests lie in `bloomery_sys`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bloomery_agent_api::StorageDevice;

use crate::contents;
use crate::disks::{self, Disk, Places, unseen};
use crate::orders::{Thoroughness, WipeOrder};

pub mod board;
pub mod erase;
pub mod layers;
pub mod medium;
pub mod method;

pub use board::Board;
use board::Line;
use erase::Progress as _;
use medium::{Device, Medium as _};

/// Blank disks that come up during a wipe are erased as well; a machine on which this many times new ones came up is broken.
const MOST_ROUNDS: usize = 8;

/// What the names of nodes begin with.
const NODES: &str = "/dev/";

/// Disks that were erased in this boot, by name and sequence number: nobody but the agent writes to them, so a second
/// attempt for the sake of a failed disk leaves them out. The kernel counts each new medium.
#[derive(Debug, Clone, Default)]
pub struct Erased(HashMap<(String, u64), (Thoroughness, String)>);

impl Erased {
    /// Forgets all: the next order is a new one.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    fn method(&self, disk: &Disk, thoroughness: Thoroughness) -> Option<&str> {
        let (done, method) = self.0.get(&(disk.name.clone(), disk.sequence?))?;
        (*done >= thoroughness).then_some(method.as_str())
    }

    fn note(&mut self, disk: &Disk, thoroughness: Thoroughness, method: String) {
        if let Some(sequence) = disk.sequence {
            self.0.insert((disk.name.clone(), sequence), (thoroughness, method));
        }
    }
}

/// What every disk of one wipe needs.
struct Wipe<'wipe> {
    order: WipeOrder,
    places: &'wipe Places,
    /// The disks that the plane was told of when it gave the order.
    reported: &'wipe [StorageDevice],
    board: &'wipe Arc<Board>,
}

/// Erases every disk that there is, but for those that the order exempts; `reported` are those that the plane was told
/// of: the order is for these. `board` says in the end whether all are wiped. If this future is dropped, the threads stop
/// at their next chunk.
pub async fn run(
    order: WipeOrder,
    places: &Places,
    reported: &[StorageDevice],
    board: &Arc<Board>,
    erased: &mut Erased,
) {
    let _stop = board.cancel_when_dropped();
    let wipe = Wipe { order, places, reported, board };
    let first = disks::find(places);
    // What has no node was not seen even then; it is found again at the end.
    let gone: Vec<&StorageDevice> = reported
        .iter()
        .filter(|told| {
            told.device_name.starts_with(NODES) && !first.iter().any(|disk| disk.shown == told.device_name)
        })
        .collect();
    for told in gone {
        let line = board.add_unseen(&told.device_name, &told.model, &told.serial);
        line.failed("it was there when the machine registered, and is gone");
    }
    wipe.erase_until_none_is_new(first, erased).await;
    // At the end: by now the drivers have said what they have to say.
    for unseen in unseen::find(places) {
        let line = board.add_unseen(&unseen.name, &unseen.model, &unseen.serial);
        if wipe.order.exempts(&unseen.model, &unseen.serial, true) {
            line.exempt();
        } else {
            line.failed(&unseen.reason);
        }
    }
}

fn key(disk: &Disk) -> (String, Option<u64>) {
    (disk.name.clone(), disk.sequence)
}

impl Wipe<'_> {
    async fn erase_until_none_is_new(&self, first: Vec<Disk>, erased: &mut Erased) {
        let (mut seen, mut fresh) = (Vec::new(), first);
        for _ in 0..MOST_ROUNDS {
            seen.extend(fresh.iter().map(key));
            let mine = layers::free(self.places, self.leave_exempt(fresh), self.board);
            self.erase_all(mine, erased).await;
            fresh = disks::find(self.places);
            fresh.retain(|disk| !seen.contains(&key(disk)));
            if fresh.is_empty() {
                return;
            }
        }
        for disk in fresh {
            self.board.add(&disk).failed("new disks keep coming up; this one was not touched");
        }
    }

    /// The disks that are to be erased; the others are said to be left.
    fn leave_exempt(&self, disks: Vec<Disk>) -> Vec<Disk> {
        let (exempt, mine): (Vec<Disk>, Vec<Disk>) = (disks.into_iter())
            .partition(|disk| self.order.exempts(&disk.model, &disk.serial, disk.read_only));
        for disk in exempt {
            self.board.add(&disk).exempt();
        }
        mine
    }

    /// Whether the plane was told of this disk, and not of another in its place.
    fn is_reported(&self, disk: &Disk) -> bool {
        self.reported.iter().any(|told| {
            told.device_name == disk.shown && told.serial == disk.serial && told.size == disk.size
        })
    }

    /// One thread each; returns when all have ended.
    async fn erase_all(&self, disks: Vec<Disk>, erased: &mut Erased) {
        let thoroughness = self.order.thoroughness();
        let mut threads = Vec::new();
        for disk in disks {
            let line = self.board.add(&disk);
            if let Some(method) = erased.method(&disk, thoroughness) {
                line.method(method);
                line.wiped();
                continue;
            }
            let (own, worker, reported) = (line.clone(), disk.clone(), self.is_reported(&disk));
            let thread = tokio::task::spawn_blocking(move || {
                let erase = if reported { erase_one } else { erase_newcomer };
                let outcome = erase(&worker, thoroughness, &own);
                match &outcome {
                    Ok(()) => own.wiped(),
                    Err(reason) => own.failed(reason),
                }
                outcome.is_ok()
            });
            threads.push((disk, line, thread));
        }
        for (disk, line, thread) in threads {
            match thread.await {
                Ok(true) => erased.note(&disk, thoroughness, line.method_used()),
                Ok(false) => {}
                Err(error) => line.failed(&format!("its thread ended: {error}")),
            }
        }
    }
}

/// A disk that the plane was not told of is erased only if nothing is on it: the order was given for what was reported.
fn erase_newcomer(disk: &Disk, thoroughness: Thoroughness, line: &Line) -> Result<(), String> {
    let contents = contents::read(disk);
    if !contents.read {
        return Err(format!(
            "it came up after the machine registered, and cannot be read: {}",
            contents.error
        ));
    }
    if !contents.found.is_empty() {
        let found = contents.found.join(", ");
        return Err(format!(
            "it came up after the machine registered, and holds {found}: the plane is told of it first"
        ));
    }
    erase_one(disk, thoroughness, line)
}

fn erase_one(disk: &Disk, thoroughness: Thoroughness, line: &Line) -> Result<(), String> {
    line.started();
    if disk.read_only {
        return Err("it is write-protected: lift that, or take it out of this machine".to_owned());
    }
    let mut device = Device::open(disk).map_err(|error| explain(disk, &error))?;
    if device.size() != disk.size {
        // Or a disk that has lost its capacity would be empty, and so be erased at once.
        return Err(format!("it has {} bytes now, and had {}", device.size(), disk.size));
    }
    let outcome = match thoroughness {
        Thoroughness::Fast => erase::fast(&mut device, &disk.partitions, line),
        Thoroughness::Full => erase::full(&mut device, line),
    };
    outcome.map_err(|error| bloomery_base::chain(&error))
}

/// Why a disk cannot be opened, with what holds it.
fn explain(disk: &Disk, error: &bloomery_sys::block::erase::Error) -> String {
    let mut reason = bloomery_base::chain(error);
    if error.is_busy() {
        let holders = disks::holders(&disk.sysfs);
        let holders = if holders.is_empty() { mounted(&disk.node) } else { holders.join(", ") };
        reason = format!("{reason}; held by {holders}");
    }
    reason
}

/// What of the disk is mounted, for a message.
fn mounted(node: &Path) -> String {
    let node = node.display().to_string();
    let mounts = bloomery_sys::mount::table().unwrap_or_default();
    let mounts: Vec<String> = (mounts.into_iter().filter(|mount| mount.source.starts_with(&node)))
        .map(|mount| format!("the mount at {}", mount.target.display()))
        .collect();
    if mounts.is_empty() { "somebody who has it open".to_owned() } else { mounts.join(", ") }
}

#[cfg(test)]
pub(crate) mod tests;
