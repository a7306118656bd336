//! Erasing all disks of this machine, each in a thread of its own, and saying of each what became of it.
//!
//! It must never start without a [`WipeOrder`], never call a machine wiped while one disk is not, and never let one
//! disk hold up or end the work on another. All raw requests lie in `bloomery_sys`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::orders::{Thoroughness, WipeOrder};

pub mod board;
pub mod disks;
pub mod erase;
pub mod layers;
pub mod medium;
pub mod method;
pub mod ranges;
pub mod unseen;

pub use board::Board;
use board::Line;
use disks::Disk;
use erase::Progress as _;
use medium::{Device, Medium as _};

/// Disks that come up during a wipe are erased as well; a machine on which this many times new ones came up is broken.
const MOST_ROUNDS: usize = 8;

/// Where the kernel shows disks.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/sys` except in tests.
    pub sysfs: PathBuf,
    /// `/dev` except in tests.
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sysfs: PathBuf::from(crate::inventory::SYSFS), dev: PathBuf::from("/dev") }
    }
}

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

/// Erases every disk that there is; `expected` are those that the plane was told of (nodes, `/dev/sda`). `board` says
/// in the end whether all are wiped. If this future is dropped, the threads stop at their next chunk.
pub async fn run(
    order: WipeOrder,
    places: &Places,
    expected: &[String],
    board: &Arc<Board>,
    erased: &mut Erased,
) {
    let _stop = board.cancel_when_dropped();
    let thoroughness = order.thoroughness();
    let first = layers::free(places, disks::find(places), board);
    let gone: Vec<&String> =
        expected.iter().filter(|node| !first.iter().any(|disk| &disk.shown == *node)).collect();
    for node in gone {
        let line = board.add_unseen(node);
        line.failed("it was there when the machine registered, and is gone");
    }
    erase_until_none_is_new(first, thoroughness, places, board, erased).await;
    // At the end: by now the drivers have said what they have to say.
    for unseen in unseen::find(places) {
        board.add_unseen(&unseen.name).failed(&unseen.reason);
    }
}

async fn erase_until_none_is_new(
    first: Vec<Disk>,
    thoroughness: Thoroughness,
    places: &Places,
    board: &Arc<Board>,
    erased: &mut Erased,
) {
    let (mut seen, mut fresh) = (Vec::new(), first);
    for _ in 0..MOST_ROUNDS {
        seen.extend(fresh.iter().map(key));
        erase_all(fresh, thoroughness, board, erased).await;
        fresh = disks::find(places);
        fresh.retain(|disk| !seen.contains(&key(disk)));
        if fresh.is_empty() {
            return;
        }
        fresh = layers::free(places, fresh, board);
    }
    for disk in fresh {
        board.add(&disk).failed("new disks keep coming up; this one was not touched");
    }
}

fn key(disk: &Disk) -> (String, Option<u64>) {
    (disk.name.clone(), disk.sequence)
}

/// One thread each; returns when all have ended.
async fn erase_all(disks: Vec<Disk>, thoroughness: Thoroughness, board: &Arc<Board>, erased: &mut Erased) {
    let mut threads = Vec::new();
    for disk in disks {
        let line = board.add(&disk);
        if let Some(method) = erased.method(&disk, thoroughness) {
            line.method(method);
            line.wiped();
            continue;
        }
        let (own, worker) = (line.clone(), disk.clone());
        let thread = tokio::task::spawn_blocking(move || {
            let outcome = erase_one(&worker, thoroughness, &own);
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
    outcome.map_err(|error| bloomery_hostnet::network::chain(&error))
}

/// Why a disk cannot be opened, with what holds it.
fn explain(disk: &Disk, error: &bloomery_sys::block::erase::Error) -> String {
    let mut reason = bloomery_hostnet::network::chain(error);
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
