//! The kernel's log, `/dev/kmsg`: PID 1's log from its first instruction on.
//!
//! Writing never blocks and never fails the caller: a line that cannot be written is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The device.
const DEVICE: &str = "/dev/kmsg";
/// The kernel refuses user records above `PRINTKRB_RECORD_MAX` (1024) bytes; some room is left for its prefix.
const MAX_RECORD: usize = 960;
/// "on" ends the limit of ten user lines per five seconds, which a boot exceeds at once (kernel: `printk_devkmsg`).
const RATE_LIMIT_SWITCH: &str = "/proc/sys/kernel/printk_devkmsg";
/// Facility 3, "daemon" of RFC 5424 section 6.2.1, shifted into place.
const FACILITY_DAEMON: u8 = 3 << 3;

/// Severity of RFC 5424 section 6.2.1, as the kernel uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Priority {
    /// Action must be taken at once.
    Alert = 1,
    /// Critical.
    Critical = 2,
    /// Error.
    Error = 3,
    /// Warning.
    Warning = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational.
    Info = 6,
    /// Debug.
    Debug = 7,
}

impl From<Level> for Priority {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// A handle on the kernel's log. Cheap to clone; usable as `tracing_subscriber::fmt().with_writer(…)`.
#[derive(Debug, Clone)]
pub struct Kmsg {
    device: Arc<File>,
}

impl Kmsg {
    /// Opens `/dev/kmsg`; it has to be there (devtmpfs mounted).
    pub fn open() -> io::Result<Self> {
        let device = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(DEVICE)?;
        Ok(Self { device: Arc::new(device) })
    }

    /// Writes one message, each line of it a record of its own, long lines cut into several.
    pub fn log(&self, priority: Priority, message: &str) {
        for record in records(priority, message) {
            // There is no place to report a full or refused log.
            let _ = (&*self.device).write_all(&record);
        }
    }
}

/// Lets user space log without the kernel's rate limit. Needs /proc; harmless where refused.
pub fn lift_rate_limit() -> io::Result<()> {
    std::fs::write(RATE_LIMIT_SWITCH, "on\n")
}

/// The records of one message: `<priority>text`, none longer than the kernel takes, cut at character borders.
fn records(priority: Priority, message: &str) -> Vec<Vec<u8>> {
    let prefix = format!("<{}>", FACILITY_DAEMON | priority as u8);
    let mut out = Vec::new();
    for line in message.lines().filter(|line| !line.trim().is_empty()) {
        let mut rest = line;
        while !rest.is_empty() {
            let cut = rest.floor_char_boundary(MAX_RECORD);
            let (head, tail) = rest.split_at(cut);
            out.push([prefix.as_bytes(), head.as_bytes(), b"\n"].concat());
            rest = tail;
        }
    }
    out
}

/// One event on its way into the log: collects what the formatter writes, and logs it when dropped.
#[derive(Debug)]
pub struct Record {
    kmsg: Kmsg,
    priority: Priority,
    text: Vec<u8>,
}

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.kmsg.log(self.priority, &String::from_utf8_lossy(&self.text));
    }
}

impl<'a> MakeWriter<'a> for Kmsg {
    type Writer = Record;

    fn make_writer(&'a self) -> Record {
        Record { kmsg: self.clone(), priority: Priority::Info, text: Vec::new() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Record {
        Record { kmsg: self.clone(), priority: Priority::from(*meta.level()), text: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_line_is_a_record_with_its_priority() {
        let got = records(Priority::Warning, "one\n\ntwo\n");
        assert_eq!(got, [b"<28>one\n".to_vec(), b"<28>two\n".to_vec()]);
    }

    proptest! {
        #[test]
        fn no_record_is_longer_than_the_kernel_takes(text in "\\PC{0,3000}") {
            let records = records(Priority::Info, &text);
            let mut joined = String::new();
            for record in &records {
                prop_assert!(record.len() <= 1024);
                let body = record.strip_prefix(b"<30>").and_then(|r| r.strip_suffix(b"\n")).unwrap();
                joined.push_str(std::str::from_utf8(body).unwrap());
            }
            if !text.trim().is_empty() {
                prop_assert_eq!(joined, text);
            }
        }
    }
}
