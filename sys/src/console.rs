//! Lines on every console that the kernel uses, screen and serial alike.
//!
//! A write never blocks for ever: a serial line without a reader, or one held by flow control, costs a bounded wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OutputModes, tcgetattr};

/// The names of the consoles that the kernel writes to, e.g. `tty0 ttyS0`, the preferred one last.
const ACTIVE: &str = "/sys/class/tty/console/active";
/// Where there is no such list (containers).
const FALLBACK: &str = "/dev/console";
/// Longest wait for one line on one console: 4 KiB at 115200 baud take 0.36 s.
const LINE_TIMEOUT: Duration = Duration::from_millis(500);

/// The consoles to write to. Opened anew for each line: a getty, a hang-up or a late serial driver changes nothing.
#[derive(Debug, Clone)]
pub struct Console {
    active: PathBuf,
    dev: PathBuf,
}

impl Default for Console {
    fn default() -> Self {
        Self { active: ACTIVE.into(), dev: "/dev".into() }
    }
}

impl Console {
    /// The devices in use now, `/dev/console` if the kernel names none. `tty0` is the screen's foreground terminal.
    pub fn devices(&self) -> Vec<PathBuf> {
        let names = std::fs::read_to_string(&self.active).unwrap_or_default();
        let devices: Vec<PathBuf> = device_names(&names).map(|name| self.dev.join(name)).collect();
        if devices.is_empty() { vec![FALLBACK.into()] } else { devices }
    }

    /// Writes `line` and a line end to every console. What cannot be written in time is dropped.
    pub fn line(&self, line: &str) {
        for device in self.devices() {
            // There is no place to report a console that cannot be written to.
            let _ = write_line(&device, line, LINE_TIMEOUT);
        }
    }
}

/// The usable names in the kernel's list.
fn device_names(list: &str) -> impl Iterator<Item = &str> {
    list.split_ascii_whitespace().filter(|name| !name.contains('/') && !name.starts_with('.'))
}

/// Lines end in CR and LF. A terminal that makes them of LF, as most do, is given no CR: it would show two.
fn write_line(device: &Path, line: &str, limit: Duration) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(device)?;
    let adds_cr = tcgetattr(&file)
        .is_ok_and(|settings| settings.output_modes.contains(OutputModes::OPOST | OutputModes::ONLCR));
    let text = if adds_cr { format!("{line}\n") } else { format!("{}\r\n", line.replace('\n', "\r\n")) };
    write_bounded(&mut file, text.as_bytes(), limit)
}

fn write_bounded(file: &mut File, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_writable(file, deadline)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_writable(file: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let timeout = Timespec::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(&mut [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn writes_to_each_active_console() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("active"), "tty0 ttyS0 ../evil\n").unwrap();
        for name in ["tty0", "ttyS0"] {
            File::create(dir.path().join(name)).unwrap();
        }
        let console = Console { active: dir.path().join("active"), dev: dir.path().into() };
        console.line("a\nb");
        for name in ["tty0", "ttyS0"] {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), "a\r\nb\r\n");
        }
    }

    #[test]
    fn a_line_ends_in_one_cr_whatever_the_terminal_adds() {
        use nix::pty::openpty;
        use rustix::termios::{OptionalActions, tcsetattr};
        for raw in [false, true] {
            let pty = openpty(None, None).unwrap();
            let mut settings = tcgetattr(&pty.slave).unwrap();
            if raw {
                settings.make_raw();
            } else {
                settings.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
            }
            tcsetattr(&pty.slave, OptionalActions::Now, &settings).unwrap();
            let device = rustix::termios::ttyname(&pty.slave, Vec::new()).unwrap();
            write_line(Path::new(device.to_str().unwrap()), "a\nb", LINE_TIMEOUT).unwrap();
            let mut seen = [0; 6];
            File::from(pty.master).read_exact(&mut seen).unwrap();
            assert_eq!(&seen, b"a\r\nb\r\n", "raw: {raw}");
        }
    }

    #[test]
    fn falls_back_without_a_list() {
        let console = Console { active: "/nonexistent/active".into(), dev: "/dev".into() };
        assert_eq!(console.devices(), [PathBuf::from(FALLBACK)]);
    }

    #[test]
    fn a_reader_that_never_reads_costs_a_bounded_wait() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        let started = Instant::now();
        let error = write_line(&fifo, &"x".repeat(1 << 20), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50));
        let mut first = [0; 1];
        reader.read_exact(&mut first).unwrap();
        assert_eq!(first, *b"x");
    }
}
