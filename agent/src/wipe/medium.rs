//! What erasing needs of a disk, and the disks of this machine as that.
//!
//! It must never make a failure look like success: each request says what the kernel said.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bloomery_sys::block::erase;
use bloomery_sys::nvme::{self, SanitizeAction, SanitizeState, SecureErase};

use super::method::{Abilities, Method, methods};
use crate::disks::Disk;

/// A large disk may take this long to format itself.
const FORMAT_LIMIT: Duration = Duration::from_hours(4);
/// Between two questions how far a Sanitize is.
const SANITIZE_POLL: Duration = Duration::from_secs(1);

/// Something that can be erased.
pub trait Medium {
    /// Bytes.
    fn size(&self) -> u64;
    /// Bytes of the unit of all requests.
    fn sector(&self) -> u64;
    /// Whether discards are worth a try.
    fn discards(&self) -> bool;
    /// Ways to erase all of it, the best first.
    fn methods(&self) -> Vec<Method>;
    fn discard(&mut self, range: &Range<u64>) -> io::Result<()>;
    /// Discards a range with all copies of it.
    fn discard_securely(&mut self, range: &Range<u64>) -> io::Result<()>;
    /// Makes a range zero in the way the disk likes best.
    fn zero_out(&mut self, range: &Range<u64>) -> io::Result<()>;
    fn write_zeroes(&mut self, range: &Range<u64>) -> io::Result<()>;
    /// Formats all of it; returns when that is done.
    fn format(&mut self, erase: SecureErase) -> Result<(), nvme::Error>;
    /// Sanitizes all of it; returns when that is done. `progress` is told the share done, of 65536, and says whether to go on.
    fn sanitize(
        &mut self,
        action: SanitizeAction,
        progress: &mut dyn FnMut(u16) -> bool,
    ) -> Result<SanitizeState, nvme::Error>;
    /// Makes all writes last, and lets nothing be read from a cache afterwards.
    fn flush(&mut self) -> io::Result<()>;
    /// The first byte of a range that is not zero.
    fn first_non_zero(&mut self, range: &Range<u64>) -> io::Result<Option<u64>>;
    /// Makes the kernel forget the partitions.
    fn forget_partitions(&mut self) -> Result<(), bloomery_sys::block::Error>;
}

/// A disk of this machine.
#[derive(Debug)]
pub struct Device {
    disk: erase::Disk,
    discards: bool,
    abilities: Abilities,
}

impl Device {
    pub fn open(disk: &Disk) -> Result<Self, erase::Error> {
        let opened = erase::Disk::open(&disk.node)?;
        let is_nvme = disk.name.starts_with("nvme");
        let nvme = is_nvme.then(|| nvme::identify_controller(opened.file())).and_then(|controller| {
            controller
                .inspect_err(|error| {
                    let error = bloomery_base::chain(error);
                    tracing::warn!(disk = disk.name, %error, "controller not asked what it can do");
                })
                .ok()
        });
        let abilities = Abilities { nvme, alone: disk.alone, discard_zeroes: opened.discard_zeroes() };
        Ok(Self { discards: disk.discards, abilities, disk: opened })
    }
}

impl Medium for Device {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector(&self) -> u64 {
        self.disk.sector()
    }

    fn discards(&self) -> bool {
        self.discards
    }

    fn methods(&self) -> Vec<Method> {
        methods(&self.abilities)
    }

    fn discard(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.disk.discard(range)
    }

    fn discard_securely(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.disk.discard_securely(range)
    }

    fn zero_out(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.disk.zero_out(range)
    }

    fn write_zeroes(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.disk.write_zeroes(range)
    }

    fn format(&mut self, erase: SecureErase) -> Result<(), nvme::Error> {
        let nsid = nvme::namespace_id(self.disk.file())?;
        let namespace = nvme::identify_namespace(self.disk.file(), nsid)?;
        nvme::format(self.disk.file(), nsid, &namespace, erase, FORMAT_LIMIT)
    }

    #[expect(clippy::disallowed_methods, reason = "the controller tells its progress to those who ask only")]
    fn sanitize(
        &mut self,
        action: SanitizeAction,
        progress: &mut dyn FnMut(u16) -> bool,
    ) -> Result<SanitizeState, nvme::Error> {
        nvme::sanitize(self.disk.file(), action)?;
        loop {
            std::thread::sleep(SANITIZE_POLL);
            match nvme::sanitize_progress(self.disk.file())? {
                state @ SanitizeState::Running(share) => {
                    if !progress(share) {
                        return Ok(state);
                    }
                }
                SanitizeState::Failed => {
                    // Or it would refuse everything else as well.
                    nvme::sanitize(self.disk.file(), SanitizeAction::ExitFailure)?;
                    return Ok(SanitizeState::Failed);
                }
                state @ (SanitizeState::Done | SanitizeState::Never) => return Ok(state),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }

    fn first_non_zero(&mut self, range: &Range<u64>) -> io::Result<Option<u64>> {
        self.disk.first_non_zero(range)
    }

    fn forget_partitions(&mut self) -> Result<(), bloomery_sys::block::Error> {
        self.disk.forget_partitions()
    }
}
