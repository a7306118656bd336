//! Where a build finds its inputs and puts its outputs. It must never read the environment or the
//! clock: the command line does that, once.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::apt::Mirrors;

/// Programs built from this repository's Rust crates, and what each is for.
pub const RUST_PROGRAMS: [&str; 6] = ["init", "controllers", "bootsvc", "siderolink", "appliance", "agent"];

/// Everything a build depends on.
#[derive(Debug, Clone)]
pub struct Settings {
    pub source: PathBuf,
    pub out: PathBuf,
    /// Downloads and unpacked packages; may be shared by builds.
    pub cache: PathBuf,
    /// Directory of the static Rust programs.
    pub programs: PathBuf,
    pub controlplane: PathBuf,
    /// Cluster API's manifest.
    pub cluster_api: PathBuf,
    /// Time of everything in the image, seconds since 1970.
    pub epoch: u32,
    /// Version of the product.
    pub version: String,
    /// zstd level of the root image, 1 to 22.
    pub squashfs_level: u32,
    /// Mirrors, when not the machine's own.
    pub mirrors: Mirrors,
}

impl Settings {
    pub fn components(&self) -> PathBuf {
        self.source.join("image/components.toml")
    }

    pub fn lock(&self) -> PathBuf {
        self.source.join("image/components.lock")
    }

    /// The packages that this build took, in the form of `components.lock`; beside the packages themselves.
    pub fn taken_lock(&self) -> PathBuf {
        self.cache.join("components.lock")
    }

    pub fn modules(&self) -> PathBuf {
        self.source.join("image/modules.toml")
    }

    /// Files copied verbatim into the root.
    pub fn verbatim(&self) -> PathBuf {
        self.source.join("image/rootfs")
    }

    /// GRUB's menu.
    pub fn grub_menu(&self) -> PathBuf {
        self.source.join("image/grub/grub.cfg")
    }

    /// The commented example put on the FAT partition.
    pub fn example_config(&self) -> PathBuf {
        self.source.join("config/bloomery.example.yaml")
    }

    /// Path of one Rust program.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.is_file() {
            bail!("program {} is not built: run make programs", path.display());
        }
        Ok(path)
    }

    /// Scratch files of this build.
    pub fn work(&self) -> PathBuf {
        self.out.join("work")
    }

    /// The root file system as a directory.
    pub fn rootfs(&self) -> PathBuf {
        self.out.join("rootfs")
    }

    /// The root file system as an image.
    pub fn squashfs(&self) -> PathBuf {
        self.out.join("root.squashfs")
    }

    pub fn vmlinuz(&self) -> PathBuf {
        self.out.join("vmlinuz")
    }

    pub fn initramfs(&self) -> PathBuf {
        self.out.join("initramfs.img")
    }

    /// The agent's initramfs. The name is Sidero's; the format is zstd, which the kernel tells by
    /// its content and which unpacks several times faster than xz.
    pub fn agent_initramfs(&self) -> PathBuf {
        self.out.join("agent/initramfs.xz")
    }

    pub fn disk(&self) -> PathBuf {
        self.out.join("bloomery-amd64.img")
    }

    /// The same build into another directory, with the same downloads.
    #[must_use]
    pub fn into_dir(&self, out: &Path) -> Self {
        Self { out: out.to_owned(), ..self.clone() }
    }
}
