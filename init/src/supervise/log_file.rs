//! The children's output: bounded files that rotate, written by a thread of their own, and the last lines of each.
//!
//! A full or broken disk must never stop a child or PID 1: what cannot be written is counted and dropped.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Each file, and its predecessor `.log.1`.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Lines shown on the console after a crash.
pub const TAIL_LINES: usize = 8;
/// Longer lines are cut in the tail: a stack dump must not fill the console.
const TAIL_LINE_BYTES: usize = 240;
/// Pieces of output on their way to the disk; a full queue makes the children wait.
const QUEUE: usize = 64;
/// PID 1 reads them for administrators (`log_reader.rs`); no service reads another's.
const MODE: u32 = 0o600;

/// One service's file: append, and start anew beyond the limit.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    open: Option<(File, u64)>,
}

impl LogFile {
    /// Nothing is opened before the first write.
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self { path, max_bytes, open: None }
    }

    /// Appends; rotates before a piece that would not fit.
    ///
    /// # Errors
    /// What the file system says; the next write tries everything anew.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(usize::try_from(self.max_bytes).unwrap_or(usize::MAX).max(1)) {
            let outcome = self.write_piece(piece);
            if outcome.is_err() {
                self.open = None;
            }
            outcome?;
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let (file, written) = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        let (mut file, written) = if written + piece.len() as u64 > self.max_bytes {
            drop(file);
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.open_file()?
        } else {
            (file, written)
        };
        file.write_all(piece)?;
        self.open = Some((file, written + piece.len() as u64));
        Ok(())
    }

    fn open_file(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }
}

/// The last lines of a child's output.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    /// Takes a piece of output.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = TAIL_LINE_BYTES.saturating_sub(self.partial.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// The lines, oldest first, and a fresh start.
    pub fn take(&mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.drain(..).collect()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial);
        // Control characters of a child must not reach the console of the machine.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.partial.clear();
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

enum Message {
    Output { service: &'static str, bytes: Vec<u8> },
    Flush(oneshot::Sender<()>),
}

/// What became of the output since the last look.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Losses {
    /// Bytes that could not be written.
    pub bytes: u64,
    /// The last reason.
    pub reason: Option<String>,
}

/// The way to the log files; cheap to clone.
#[derive(Debug, Clone)]
pub struct LogSink {
    queue: mpsc::Sender<Message>,
    losses: Arc<Mutex<Losses>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Output { service, bytes } => write!(formatter, "Output({service}, {} bytes)", bytes.len()),
            Self::Flush(_) => formatter.write_str("Flush"),
        }
    }
}

impl LogSink {
    /// Files in `directory`, which may come and go.
    pub fn start(directory: PathBuf, max_bytes: u64) -> Self {
        let (queue, mut messages) = mpsc::channel::<Message>(QUEUE);
        let losses = Arc::new(Mutex::new(Losses::default()));
        let lost = Arc::clone(&losses);
        let worker = move || {
            let mut files: BTreeMap<&'static str, LogFile> = BTreeMap::new();
            while let Some(message) = messages.blocking_recv() {
                match message {
                    Message::Output { service, bytes } => {
                        let file = files
                            .entry(service)
                            .or_insert_with(|| LogFile::new(log_path(&directory, service), max_bytes));
                        if let Err(error) = file.write(&bytes) {
                            let mut losses = lost.lock();
                            losses.bytes += bytes.len() as u64;
                            losses.reason = Some(error.to_string());
                        }
                    }
                    Message::Flush(done) => {
                        // Closes the files too: a partition with open files cannot be unmounted.
                        files.clear();
                        let _ = done.send(());
                    }
                }
            }
        };
        drop(std::thread::Builder::new().name("logs".to_owned()).stack_size(128 * 1024).spawn(worker));
        Self { queue, losses }
    }

    /// Hands a piece of output over; waits while the disk is behind.
    pub async fn write(&self, service: &'static str, bytes: Vec<u8>) {
        drop(self.queue.send(Message::Output { service, bytes }).await);
    }

    /// Waits until everything so far is written, and closes the files.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            drop(flushed.await);
        }
    }

    /// What was lost since the last call.
    pub fn take_losses(&self) -> Losses {
        std::mem::take(&mut self.losses.lock())
    }
}

/// Where a service's output goes.
pub fn log_path(directory: &Path, service: &str) -> PathBuf {
    directory.join(format!("{service}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_and_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_path(dir.path(), "etcd");
        let mut log = LogFile::new(path.clone(), 100);
        for number in 0..100 {
            log.write(format!("line {number:03}\n").as_bytes()).unwrap();
        }
        let now = std::fs::read_to_string(&path).unwrap();
        let before = std::fs::read_to_string(dir.path().join("etcd.log.1")).unwrap();
        assert!(now.len() <= 100 && before.len() <= 100);
        assert!(now.ends_with("line 099\n"));
        assert!((before + &now).contains("line 090\nline 091\n"), "no line is lost at the turn");
    }

    #[test]
    fn a_piece_larger_than_the_limit_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(log_path(dir.path(), "x"), 10);
        log.write(&[b'a'; 35]).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("x.log")).unwrap().len(), 5);
        assert_eq!(std::fs::metadata(dir.path().join("x.log.1")).unwrap().len(), 10);
    }

    #[test]
    fn goes_on_appending_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["one\n", "two\n"] {
            LogFile::new(log_path(dir.path(), "x"), 100).write(text.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("x.log")).unwrap(), "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_disk_that_fails_costs_output_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let sink = LogSink::start(logs.clone(), 100);
        sink.write("x", b"lost\n".to_vec()).await;
        sink.flush().await;
        assert_eq!(sink.take_losses().bytes, 5);
        std::fs::create_dir(&logs).unwrap();
        sink.write("x", b"kept\n".to_vec()).await;
        sink.flush().await;
        assert_eq!(sink.take_losses(), Losses::default());
        assert_eq!(std::fs::read_to_string(logs.join("x.log")).unwrap(), "kept\n");
    }

    #[test]
    fn the_tail_keeps_the_last_lines_printable_and_short() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(b"\x1b[2J");
        tail.push(&[b'x'; 10_000]);
        let lines = tail.take();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[0], "line 93");
        assert!(lines[TAIL_LINES - 1].starts_with(" [2Jxx"));
        assert_eq!(lines[TAIL_LINES - 1].len(), TAIL_LINE_BYTES);
        assert!(tail.take().is_empty());
    }
}
