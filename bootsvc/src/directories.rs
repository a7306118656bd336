//! Where boot files are: kernels and initramfs images of Environments and of the agents.

use std::path::{Path, PathBuf};

use bloomery_api::arch::Arch;
use bloomery_api::environment;

/// What an Environment, or an agent, consists of.
pub const BOOT_FILES: [&str; 2] = [environment::KERNEL_FILE, environment::INITRD_FILE];

#[derive(Debug, Clone)]
pub struct Directories {
    /// `--env-dir`: one directory for each Environment.
    pub environments: PathBuf,
    /// `agent/` below `--share-dir`: one directory for each architecture.
    pub agents: PathBuf,
}

impl Directories {
    /// The file of an agent.
    pub fn agent_file(&self, arch: Arch, name: &str) -> PathBuf {
        self.agents.join(arch.as_str()).join(name)
    }

    /// Whether kernel and initramfs of the agent are there to be served.
    pub fn has_agent(&self, arch: Arch) -> bool {
        BOOT_FILES.iter().all(|name| is_servable(&self.agent_file(arch, name)))
    }

    /// Whether kernel and initramfs of an Environment are there to be served. Names that are no
    /// single directory name have none.
    pub fn has_environment(&self, name: &str) -> bool {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let directory = self.environments.join(name);
        plain && BOOT_FILES.iter().all(|file| is_servable(&directory.join(file)))
    }
}

/// Whether the file can be opened now and has content.
pub fn is_servable(path: &Path) -> bool {
    std::fs::File::open(path)
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}
