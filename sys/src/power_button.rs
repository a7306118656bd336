//! The power button: input devices that have `KEY_POWER` (ACPI button, BMC "soft off", keyboards).
//!
//! The caller decides what a press means.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `EV_KEY` of linux/input-event-codes.h.
const EV_KEY: u16 = 1;
/// `KEY_POWER`.
const KEY_POWER: u16 = 116;
/// A press; 0 is the release and 2 the repeat.
const PRESSED: i32 = 1;
/// Bytes that hold a bit for every key up to `KEY_MAX` (0x2ff).
const KEY_BYTES: usize = 0x300 / 8;
/// `struct input_event` on a 64-bit machine: two 8-byte times, type, code, value.
const EVENT_SIZE: usize = 24;

mod ioctl {
    //! `EVIOCGBIT(EV_KEY, …)` of linux/input.h: 'E', 0x20 + event type.
    use super::EV_KEY;

    nix::ioctl_read_buf!(get_key_bits, b'E', 0x20 + EV_KEY, u8);
}

/// A device with a power button. Readable (see [`AsFd`], [`AsRawFd`]) when something was pressed.
#[derive(Debug)]
pub struct PowerButton {
    device: File,
    path: PathBuf,
}

impl PowerButton {
    /// Every power button that there is now. Devices that cannot be opened are left out.
    pub fn open_all() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir("/dev/input") else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| Self::open(path).ok().flatten()).collect()
    }

    /// Opens one input device, non-blocking; `None` if it has no power button.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("event")) {
            return Ok(None);
        }
        let device =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
        let mut keys = [0; KEY_BYTES];
        // SAFETY: the descriptor is open for the whole call, and the request number carries the buffer's own length,
        // beyond which the kernel does not write.
        unsafe { ioctl::get_key_bits(device.as_raw_fd(), &mut keys) }?;
        Ok(has_key(&keys, KEY_POWER).then(|| Self { device, path: path.into() }))
    }

    /// The device's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all events that are there and says whether a press of the button was among them. Never blocks; an error
    /// (`ENODEV`) means that the device is gone.
    pub fn pressed(&mut self) -> io::Result<bool> {
        let mut pressed = false;
        let mut events = [0; EVENT_SIZE * 64];
        loop {
            match self.device.read(&mut events) {
                Ok(0) => return Ok(pressed),
                Ok(length) => pressed |= events[..length].chunks_exact(EVENT_SIZE).any(is_press),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pressed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for PowerButton {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for PowerButton {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

fn has_key(keys: &[u8], key: u16) -> bool {
    keys.get(usize::from(key / 8)).is_some_and(|byte| byte >> (key % 8) & 1 == 1)
}

/// Whether these bytes of `struct input_event` are a press of the power button.
fn is_press(event: &[u8]) -> bool {
    match event {
        [.., t0, t1, c0, c1, v0, v1, v2, v3] if event.len() == EVENT_SIZE => {
            u16::from_ne_bytes([*t0, *t1]) == EV_KEY
                && u16::from_ne_bytes([*c0, *c1]) == KEY_POWER
                && i32::from_ne_bytes([*v0, *v1, *v2, *v3]) == PRESSED
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [&[0; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        assert!(is_press(&event(EV_KEY, KEY_POWER, 1)));
        for other in [event(EV_KEY, KEY_POWER, 0), event(EV_KEY, 30, 1), event(0, KEY_POWER, 1), vec![1; 8]] {
            assert!(!is_press(&other));
        }
    }

    #[test]
    fn finds_the_key_in_the_bit_map() {
        let mut keys = [0; KEY_BYTES];
        assert!(!has_key(&keys, KEY_POWER));
        keys[14] = 1 << 4;
        assert!(has_key(&keys, KEY_POWER));
        assert!(!has_key(&[], KEY_POWER));
    }

    #[test]
    fn a_device_that_is_no_input_device_is_no_button() {
        assert!(PowerButton::open(Path::new("/dev/null")).unwrap().is_none());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("event0");
        std::fs::write(&path, "").unwrap();
        assert!(PowerButton::open(&path).is_err());
    }
}
