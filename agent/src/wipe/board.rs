//! How far each disk is: for the plane's heartbeats, and line by line for the console.
//!
//! It must never flood the console: a disk speaks when its state changes and at each tenth.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bloomery_agent_api::DiskProgress;
use bloomery_agent_api::disk_progress::State;

use super::erase::Progress;
use crate::disks::Disk;

/// The method of a disk that is left as it is.
const EXEMPT: &str = "exempt";

/// All disks of one wipe.
pub struct Board {
    entries: Mutex<Vec<Entry>>,
    cancelled: AtomicBool,
    say: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Debug)]
struct Entry {
    progress: DiskProgress,
    /// The last tenth that was shown.
    tenth: u64,
}

impl fmt::Debug for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Board").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Cancels the wipe when it goes out of scope.
#[derive(Debug)]
pub struct Stop(Arc<Board>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Board {
    /// An empty one; `say` shows a line to people.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { entries: Mutex::default(), cancelled: AtomicBool::new(false), say: Box::new(say) }
    }

    pub fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// All disks, as they go over the wire.
    pub fn disks(&self) -> Vec<DiskProgress> {
        self.entries().iter().map(|entry| entry.progress.clone()).collect()
    }

    /// Whether every disk is wiped, but for those whose owner has taken the responsibility. A machine without disks has
    /// nothing that is not.
    pub fn all_wiped(&self) -> bool {
        self.entries().iter().all(|entry| matches!(entry.progress.state(), State::Wiped | State::Exempt))
    }

    pub(super) fn cancel_when_dropped(self: &Arc<Self>) -> Stop {
        Stop(self.clone())
    }

    /// Puts a disk on the board.
    pub(super) fn add(self: &Arc<Self>, disk: &Disk) -> Line {
        self.push(DiskProgress {
            device: disk.name.clone(),
            model: disk.model.clone(),
            serial: disk.serial.clone(),
            size: disk.size,
            ..DiskProgress::default()
        })
    }

    /// Puts a disk on the board that is known by its node, and perhaps by its model and serial number, only.
    pub(super) fn add_unseen(self: &Arc<Self>, node: &str, model: &str, serial: &str) -> Line {
        let device = node.strip_prefix("/dev/").unwrap_or(node).to_owned();
        let (model, serial) = (model.to_owned(), serial.to_owned());
        self.push(DiskProgress { device, model, serial, ..DiskProgress::default() })
    }

    fn push(self: &Arc<Self>, progress: DiskProgress) -> Line {
        let mut entries = self.entries();
        entries.push(Entry { progress, tenth: 0 });
        Line { board: self.clone(), index: entries.len() - 1 }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // An entry is whole after each change, whatever its thread died of.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One disk's place on the board. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Line {
    board: Arc<Board>,
    index: usize,
}

impl Line {
    /// Work on the disk begins.
    pub(super) fn started(&self) {
        self.change(|entry| {
            entry.progress.set_state(State::Wiping);
            None
        });
    }

    /// It is erased, and that was checked.
    pub(super) fn wiped(&self) {
        self.change(|entry| {
            let progress = &mut entry.progress;
            progress.set_state(State::Wiped);
            progress.done = progress.size;
            Some(format!("WIPED  {} ({})", progress.device, progress.method))
        });
    }

    /// It is left as it is.
    pub(super) fn exempt(&self) {
        self.change(|entry| {
            let progress = &mut entry.progress;
            progress.set_state(State::Exempt);
            EXEMPT.clone_into(&mut progress.method);
            let device = &progress.device;
            Some(format!(
                "LEFT   {device} is not wiped: its owner has taken the responsibility for what it holds"
            ))
        });
    }

    /// It is not.
    pub(super) fn failed(&self, reason: &str) {
        self.change(|entry| {
            let progress = &mut entry.progress;
            progress.set_state(State::Failed);
            reason.clone_into(&mut progress.error);
            Some(format!("ERROR  {} IS NOT WIPED: {reason}", progress.device))
        });
    }

    /// In which way it was erased.
    pub(super) fn method_used(&self) -> String {
        let entries = self.board.entries();
        entries.get(self.index).map(|entry| entry.progress.method.clone()).unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut Entry) -> Option<String>) {
        // The line is shown after the lock is gone: nobody waits for a console.
        let line = self.board.entries().get_mut(self.index).and_then(change);
        if let Some(line) = line {
            self.board.say(&line);
        }
    }
}

impl Progress for Line {
    fn method(&self, name: &str) {
        self.change(|entry| {
            name.clone_into(&mut entry.progress.method);
            entry.tenth = 0;
            None
        });
    }

    fn done(&self, bytes: u64) {
        self.change(|entry| {
            let progress = &mut entry.progress;
            progress.done = bytes.min(progress.size);
            let tenth = u64::try_from(u128::from(progress.done) * 10 / u128::from(progress.size.max(1)))
                .unwrap_or_default();
            // The whole is shown by what follows: wiped, or not.
            if tenth <= entry.tenth || tenth >= 10 {
                return None;
            }
            entry.tenth = tenth;
            Some(format!("WIPE   {} {} % ({})", progress.device, tenth * 10, progress.method))
        });
    }

    fn is_cancelled(&self) -> bool {
        self.board.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> (Arc<Board>, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        (Arc::new(Board::new(move |line| sink.lock().unwrap().push(line.to_owned()))), lines)
    }

    #[test]
    fn a_disk_speaks_at_each_tenth_and_at_its_end() {
        let (board, lines) = board();
        assert!(board.all_wiped());
        let line = board.push(DiskProgress { device: "sda".into(), size: 1000, ..DiskProgress::default() });
        assert!(!board.all_wiped());
        line.started();
        line.method("zero out");
        for bytes in 0..=1000 {
            line.done(bytes);
        }
        line.wiped();
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 10, "{lines:?}");
        assert_eq!(
            (lines[0].as_str(), lines[9].as_str()),
            ("WIPE   sda 10 % (zero out)", "WIPED  sda (zero out)")
        );
        assert!(board.all_wiped());
        assert_eq!((board.disks()[0].done, board.disks()[0].state()), (1000, State::Wiped));
    }

    #[test]
    fn one_failed_disk_is_enough() {
        let (board, lines) = board();
        for device in ["sda", "sdb"] {
            board.push(DiskProgress { device: device.into(), ..DiskProgress::default() }).wiped();
        }
        let line = board.add_unseen("/dev/sdc", "", "");
        line.failed("it is gone");
        assert!(!board.all_wiped());
        assert_eq!(lines.lock().unwrap().last().unwrap(), "ERROR  sdc IS NOT WIPED: it is gone");
        assert_eq!(board.disks()[2].error, "it is gone");
    }

    #[test]
    fn dropping_the_stop_stops_all() {
        let (board, _) = board();
        let line = board.add_unseen("/dev/sda", "", "");
        let stop = board.cancel_when_dropped();
        assert!(!line.is_cancelled());
        drop(stop);
        assert!(line.is_cancelled());
    }
}
