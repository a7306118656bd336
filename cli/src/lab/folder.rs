//! The folder of a running lab, and the socket in it at which the lab answers.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bloomery_lab::control;

/// An open folder: the address of a unix socket holds only 108 bytes, which the folder's own path may exceed.
pub(super) struct Folder(File);

impl Folder {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        File::open(path).map(Self).with_context(|| format!("failed to open {}", path.display()))
    }

    /// Good as long as the folder is open.
    pub(super) fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{}", self.0.as_raw_fd(), control::SOCKET))
    }
}
