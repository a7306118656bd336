//! `NVMe` admin commands: what a controller can do, Format NVM and Sanitize (NVM Express base specification 1.4).
//!
//! It never sends a command that destroys data to a namespace that was not opened exclusively for that: the caller
//! gives the file of such a disk. Data of the controller is noise until [`identify`] has checked its length.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

mod identify;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

pub use identify::{Controller, Namespace, SanitizeState, sanitize_state};

/// Bytes of both identify structures (figures 247 and 245).
pub const IDENTIFY_LENGTH: usize = 4096;
/// Bytes of the sanitize status log page that are used (figure 233).
pub const SANITIZE_LOG_LENGTH: usize = 512;

/// Opcodes of figure 139.
const IDENTIFY: u8 = 0x06;
const GET_LOG_PAGE: u8 = 0x02;
const FORMAT_NVM: u8 = 0x80;
const SANITIZE: u8 = 0x84;
/// CNS of Identify: the namespace, the controller.
const CNS_NAMESPACE: u32 = 0;
const CNS_CONTROLLER: u32 = 1;
/// Log identifier of the sanitize status.
const LOG_SANITIZE: u32 = 0x81;
/// All namespaces, as log pages of the controller want it.
const ALL_NAMESPACES: u32 = 0xffff_ffff;
/// `AUSE` of Sanitize: should it fail, [`SanitizeAction::ExitFailure`] makes the disk usable for another method.
const UNRESTRICTED_EXIT: u32 = 1 << 3;
/// A controller answers questions at once or not at all.
const QUESTION: Duration = Duration::from_secs(30);

/// `struct nvme_passthru_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Default)]
struct Command {
    opcode: u8,
    flags: u8,
    rsvd1: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

mod ioctl {
    nix::ioctl_none!(nvme_id, b'N', 0x40);
    nix::ioctl_readwrite!(nvme_admin_cmd, b'N', 0x41, super::Command);
}

/// Why a controller did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to send the NVMe command {what}")]
    Send { what: &'static str, source: io::Error },
    #[error("failed to run the NVMe command {what}: status {status:#x}")]
    Status {
        what: &'static str,
        /// Status code type and code of the completion (figure 126).
        status: i32,
    },
    #[error("failed to read the controller's answer to {what}")]
    Answer { what: &'static str },
}

/// Whether erasing is by overwriting cells or by forgetting a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureErase {
    /// `SES` 1: the user data is erased.
    UserData,
    /// `SES` 2: the key is.
    Cryptographic,
}

/// What Sanitize does to the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanitizeAction {
    /// `SANACT` 1: a failed Sanitize is over, and the controller takes other commands again.
    ExitFailure,
    /// `SANACT` 2.
    BlockErase,
    /// `SANACT` 4.
    CryptoErase,
}

/// The number of the namespace behind an opened block device.
pub fn namespace_id(device: &File) -> Result<u32, Error> {
    // SAFETY: the request has no argument.
    let id = unsafe { ioctl::nvme_id(device.as_raw_fd()) }
        .map_err(|errno| Error::Send { what: "namespace ID", source: errno.into() })?;
    u32::try_from(id).ok().filter(|id| *id != 0).ok_or(Error::Answer { what: "namespace ID" })
}

/// What the controller can do.
pub fn identify_controller(device: &File) -> Result<Controller, Error> {
    let mut data = [0; IDENTIFY_LENGTH];
    let what = "identify controller";
    let command = Command { opcode: IDENTIFY, cdw10: CNS_CONTROLLER, ..Command::default() };
    send(device, command, &mut data, QUESTION, what)?;
    Controller::parse(&data).ok_or(Error::Answer { what })
}

/// How the namespace is formatted now.
pub fn identify_namespace(device: &File, nsid: u32) -> Result<Namespace, Error> {
    let mut data = [0; IDENTIFY_LENGTH];
    let what = "identify namespace";
    let command = Command { opcode: IDENTIFY, nsid, cdw10: CNS_NAMESPACE, ..Command::default() };
    send(device, command, &mut data, QUESTION, what)?;
    Namespace::parse(&data).ok_or(Error::Answer { what })
}

/// Formats the namespace as it is formatted now, and erases it. Returns when that is done, or after `limit`.
pub fn format(
    device: &File,
    nsid: u32,
    namespace: &Namespace,
    erase: SecureErase,
    limit: Duration,
) -> Result<(), Error> {
    let command =
        Command { opcode: FORMAT_NVM, nsid, cdw10: namespace.format_dword(erase), ..Command::default() };
    send(device, command, &mut [], limit, "format")
}

/// Starts to sanitize all of the controller's media; [`sanitize_progress`] tells when it is done.
pub fn sanitize(device: &File, action: SanitizeAction) -> Result<(), Error> {
    let cdw10 = match action {
        SanitizeAction::ExitFailure => 1,
        SanitizeAction::BlockErase => 2 | UNRESTRICTED_EXIT,
        SanitizeAction::CryptoErase => 4 | UNRESTRICTED_EXIT,
    };
    send(device, Command { opcode: SANITIZE, cdw10, ..Command::default() }, &mut [], QUESTION, "sanitize")
}

/// How far the last Sanitize is.
pub fn sanitize_progress(device: &File) -> Result<SanitizeState, Error> {
    let mut data = [0; SANITIZE_LOG_LENGTH];
    let what = "get log page (sanitize status)";
    // Number of dwords, zero-based, in bits 31:16.
    let dwords = u32::try_from(SANITIZE_LOG_LENGTH / 4 - 1).unwrap_or_default();
    let command = Command {
        opcode: GET_LOG_PAGE,
        nsid: ALL_NAMESPACES,
        cdw10: dwords << 16 | LOG_SANITIZE,
        ..Command::default()
    };
    send(device, command, &mut data, QUESTION, what)?;
    sanitize_state(&data).ok_or(Error::Answer { what })
}

fn send(
    device: &File,
    mut command: Command,
    data: &mut [u8],
    limit: Duration,
    what: &'static str,
) -> Result<(), Error> {
    command.addr = if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 };
    command.data_len = u32::try_from(data.len()).map_err(|_| Error::Answer { what })?;
    command.timeout_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: the structure has the layout of the kernel's and outlives the call, and the kernel writes at most
    // `data_len` bytes at `addr`, which is the caller's buffer of that length.
    let status = unsafe { ioctl::nvme_admin_cmd(device.as_raw_fd(), &raw mut command) }
        .map_err(|errno| Error::Send { what, source: errno.into() })?;
    if status == 0 { Ok(()) } else { Err(Error::Status { what, status }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_kernels_72_bytes() {
        assert_eq!(size_of::<Command>(), 72);
    }

    #[test]
    fn what_is_no_nvme_disk_answers_nothing() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(namespace_id(&file), Err(Error::Send { .. })));
        assert!(matches!(identify_controller(&file), Err(Error::Send { .. })));
        assert!(matches!(sanitize(&file, SanitizeAction::BlockErase), Err(Error::Send { .. })));
    }
}
