//! Looks at all disks of this machine, each in a thread of its own, and remembers what it saw.
//!
//! It must never let one disk hold up the registration of the machine, never take a disk that has not answered for blank,
//! and never leave a disk out because it cannot be seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bloomery_agent_api::{DiskContents, StorageDevice, StorageInformation};
use bloomery_sys::block::read::Reader;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::disks::{self, Disk, Places, unseen};

/// The registration waits this long for a disk: spun-down disks need half of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A look that takes longer has met a broken disk.
const LIMIT: Duration = Duration::from_mins(5);
/// Nobody but the agent writes to the disks of this machine, unless they hang on two machines: after this they are read
/// again.
const FRESH: Duration = Duration::from_mins(10);

/// A disk with its medium: name, size, the kernel's number of the medium.
type Key = (String, u64, Option<u64>);

#[derive(Debug)]
struct Seen {
    since: Instant,
    contents: watch::Receiver<Option<DiskContents>>,
}

impl Seen {
    /// Whether it can be told again without another look.
    fn is_good(&self, key: &Key) -> bool {
        match self.contents.borrow().as_ref() {
            Some(contents) => key.2.is_some() && contents.read && self.since.elapsed() < FRESH,
            // Still being read; a thread that died has dropped its end.
            None => self.contents.has_changed().is_ok(),
        }
    }
}

/// What was seen on the disks in this boot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Survey {
    places: Places,
    patience: Duration,
    seen: Arc<Mutex<HashMap<Key, Seen>>>,
}

impl Survey {
    /// `places` are the kernel's except in tests.
    pub fn new(places: Places) -> Self {
        Self { places, patience: PATIENCE, seen: Arc::default() }
    }

    /// Where the kernel shows disks.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The same with another patience.
    #[must_use]
    pub fn waiting_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Says of each disk what it holds, and adds what may hold data and cannot be seen.
    pub async fn describe(&self, storage: &mut StorageInformation) {
        let found = disks::find(&self.places);
        let mut waits = Vec::new();
        {
            let mut seen = self.seen.lock().await;
            seen.retain(|key, _| found.iter().any(|disk| *key == key_of(disk)));
            for disk in &found {
                let key = key_of(disk);
                if !seen.get(&key).is_some_and(|seen| seen.is_good(&key)) {
                    seen.insert(key.clone(), start(disk.clone()));
                }
                if let Some(Seen { since, contents }) = seen.get(&key) {
                    waits.push((disk.shown.clone(), disk.size, *since + self.patience, contents.clone()));
                }
            }
        }
        let mut told = HashMap::new();
        for (shown, size, until, contents) in waits {
            told.insert((shown, size), wait(contents, until, self.patience).await);
        }
        for device in &mut storage.devices {
            // A disk that came up between the two looks at sysfs was not read.
            let contents = told.remove(&(device.device_name.clone(), device.size));
            device.contents =
                Some(contents.unwrap_or_else(|| unread("it came up while the disks were read")));
        }
        storage.devices.extend(unseen::find(&self.places).into_iter().map(|unseen| StorageDevice {
            device_name: unseen.name.clone(),
            name: unseen.name,
            model: unseen.model,
            serial: unseen.serial,
            contents: Some(unread(&unseen.reason)),
            ..StorageDevice::default()
        }));
    }

    /// Forgets all: something was written.
    pub async fn forget(&self) {
        self.seen.lock().await.clear();
    }
}

fn key_of(disk: &Disk) -> Key {
    (disk.name.clone(), disk.size, disk.sequence)
}

fn unread(error: &str) -> DiskContents {
    DiskContents { read: false, found: Vec::new(), error: error.to_owned() }
}

/// Begins to read a disk.
fn start(disk: Disk) -> Seen {
    let (sender, contents) = watch::channel(None);
    let since = Instant::now();
    tokio::task::spawn_blocking(move || {
        let wanted = || !sender.is_closed() && since.elapsed() < LIMIT;
        let contents = read_while(&disk, &wanted);
        sender.send_replace(Some(contents));
    });
    Seen { since, contents }
}

async fn wait(
    mut contents: watch::Receiver<Option<DiskContents>>,
    until: Instant,
    patience: Duration,
) -> DiskContents {
    match tokio::time::timeout_at(until, contents.wait_for(Option::is_some)).await {
        Ok(Ok(contents)) => contents.clone().unwrap_or_else(|| unread("it was not read")),
        Ok(Err(_died)) => unread("its thread ended"),
        Err(_elapsed) => unread(&format!("it has not answered for {} s", patience.as_secs())),
    }
}

/// What is on a disk now. It takes as long as the disk takes, but not longer than a bound.
pub fn read(disk: &Disk) -> DiskContents {
    let since = std::time::Instant::now();
    read_while(disk, &|| since.elapsed() < LIMIT)
}

fn read_while(disk: &Disk, go_on: &dyn Fn() -> bool) -> DiskContents {
    let reader = match Reader::open(&disk.node) {
        Ok(reader) => reader,
        Err(error) => return unread(&bloomery_base::chain(&error)),
    };
    if reader.size() != disk.size {
        // Or a disk that has lost its capacity would be blank.
        return unread(&format!("it has {} bytes, and should have {}", reader.size(), disk.size));
    }
    let mut jitter = [0; 8];
    if let Err(error) = bloomery_sys::random::fill(&mut jitter) {
        tracing::debug!(%error, "samples are where they always are");
    }
    super::look(&reader, u64::from_le_bytes(jitter), go_on).message()
}

#[cfg(test)]
mod tests;
