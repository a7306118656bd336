//! The stages of a build and their order. It must never pass a stage by whose inputs changed, nor
//! do again what has not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use crate::components::{Components, Use};
use crate::disk;
use crate::initramfs::{DRIVERS_LEVEL, Initramfs, PROGRAM_LEVEL};
use crate::kernel::selection::{Chosen, Selection};
use crate::kernel::{Kernel, firmware};
use crate::packages::{Packages, Policy};
use crate::rootfs;
use crate::settings::{RUST_PROGRAMS, Settings};
use crate::squashfs;
use crate::stage::{Inputs, Stages};
use crate::tool;
use crate::tree::{self, MODE_DATA};

/// How far a build goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Until {
    /// Kernel and both initramfs.
    Initramfs,
    /// The root as a directory, as containers run it.
    Rootfs,
    /// The root as an image.
    Squashfs,
    Disk,
}

/// A build in progress.
struct Build<'a> {
    settings: &'a Settings,
    packages: &'a Packages,
    stages: Stages,
}

/// Fetches the packages of a build.
pub fn packages(settings: &Settings, policy: Policy) -> Result<Packages> {
    let components = Components::load(&settings.components())?;
    let (recorded, taken) = (settings.lock(), settings.taken_lock());
    Packages::prepare(&components, &recorded, &taken, &settings.cache, &settings.mirrors, policy)
}

/// Builds everything up to `until` that is not up to date.
pub fn run(settings: &Settings, packages: &Packages, until: Until) -> Result<()> {
    tool::require(&tool::ALL)?;
    let stages = Stages::new(settings.work().join("stamps"));
    let build = Build { settings, packages, stages };
    let kernel = build.kernel()?;
    let initramfs = build.initramfs(&kernel)?;
    let agent = build.agent(&kernel)?;
    if until == Until::Initramfs {
        return Ok(());
    }
    let rootfs = build.rootfs(&kernel, &agent)?;
    if until == Until::Rootfs {
        return Ok(());
    }
    let squashfs = build.squashfs(&rootfs)?;
    if until == Until::Squashfs {
        return Ok(());
    }
    build.disk(&initramfs, &squashfs)
}

impl Build<'_> {
    /// Directories of modules and firmware for `boot`, `root` and `agent`, and the kernel itself.
    fn kernel(&self) -> Result<String> {
        let inputs = Inputs::new("kernel 2")
            .text("packages", &self.packages.key(&[Use::Kernel, Use::Firmware]))
            .file(&self.settings.modules())?;
        let trees = ["boot", "root", "agent"].map(|part| self.kernel_tree(part));
        let vmlinuz = self.settings.vmlinuz();
        let (boot_drivers, agent_drivers) = (self.drivers("boot"), self.drivers("agent"));
        let outputs = [vmlinuz.as_path(), &trees[1], &boot_drivers, &agent_drivers];
        self.stages.run("kernel", &inputs, &outputs, || {
            let kernel = Kernel::open(self.packages.only(Use::Kernel)?)?;
            let Chosen { boot, root, agent } = Selection::load(&self.settings.modules())?.choose(&kernel)?;
            for (modules, target) in [&boot, &root, &agent].into_iter().zip(&trees) {
                tree::make_empty_dir(target)?;
                kernel.install(modules, target)?;
            }
            // The boot set has no driver that loads firmware.
            for (modules, target) in [&root, &agent].into_iter().zip(&trees[1..]) {
                firmware::install(&kernel.firmware(modules)?, self.packages.of(Use::Firmware), target)?;
            }
            std::thread::scope(|scope| {
                let boot = scope.spawn(|| pack_drivers(&trees[0], &boot_drivers));
                pack_drivers(&trees[2], &agent_drivers)?;
                boot.join().map_err(|_| anyhow!("packing the drivers panicked"))?
            })?;
            tree::copy(&kernel.vmlinuz, &vmlinuz, MODE_DATA)
        })
    }

    fn initramfs(&self, kernel: &str) -> Result<String> {
        self.pack("initramfs", "init", "boot", kernel, &self.settings.initramfs())
    }

    fn agent(&self, kernel: &str) -> Result<String> {
        self.pack("agent", "agent", "agent", kernel, &self.settings.agent_initramfs())
    }

    fn pack(&self, stage: &str, program: &str, part: &str, kernel: &str, target: &Path) -> Result<String> {
        let init = self.settings.program(program)?;
        let inputs = Inputs::new("initramfs 3").text("kernel", kernel).file(&init)?;
        let drivers = self.drivers(part);
        self.stages.run(stage, &inputs, &[target], || {
            let mut image =
                fs::read(&drivers).with_context(|| format!("failed to read {}", drivers.display()))?;
            image.extend(Initramfs::program(&init).pack(PROGRAM_LEVEL)?);
            tree::write(target, &image, MODE_DATA)
        })
    }

    fn rootfs(&self, kernel: &str, agent: &str) -> Result<String> {
        let settings = self.settings;
        let uses = [Use::Root, Use::Ipxe, Use::Certificates];
        let mut inputs = Inputs::new("rootfs 1")
            .text("kernel", kernel)
            .text("agent", agent)
            .text("packages", &self.packages.key(&uses))
            .text("version", &settings.version)
            .text("epoch", &settings.epoch.to_string())
            .file(&settings.components())?
            .file(&settings.taken_lock())?
            .file(&settings.controlplane)
            .context("the control plane is not built: run make out/controlplane")?
            .tree(&settings.verbatim())?;
        for name in RUST_PROGRAMS.iter().filter(|name| **name != "agent") {
            inputs = inputs.file(&settings.program(name)?)?;
        }
        for (name, path) in rootfs::manifests::plan(settings)? {
            inputs = inputs.text("manifest", &name).file(&path)?;
        }
        self.stages.run("rootfs", &inputs, &[&settings.rootfs()], || {
            let parts = rootfs::Parts {
                packages: self.packages,
                kernel_tree: &self.kernel_tree("root"),
                vmlinuz: &settings.vmlinuz(),
                agent_initramfs: &settings.agent_initramfs(),
            };
            rootfs::compose(settings, &parts)
        })
    }

    fn squashfs(&self, rootfs: &str) -> Result<String> {
        let inputs = Inputs::new("squashfs 1")
            .text("rootfs", rootfs)
            .text("level", &self.settings.squashfs_level.to_string());
        let target = self.settings.squashfs();
        self.stages.run("squashfs", &inputs, &[&target], || squashfs::pack(self.settings, &target))
    }

    fn disk(&self, initramfs: &str, squashfs: &str) -> Result<()> {
        let settings = self.settings;
        let inputs = Inputs::new("disk 1")
            .text("initramfs", initramfs)
            .text("squashfs", squashfs)
            .text("packages", &self.packages.key(&[Use::BootLoader]))
            .file(&settings.grub_menu())?
            .file(&settings.example_config())?;
        let target = settings.disk();
        self.stages.run("disk", &inputs, &[&target], || {
            // A name of its own until it is whole: a half-written image is never taken for one.
            let partial = target.with_extension("img.partial");
            disk::assemble(settings, self.packages, &partial)?;
            fs::rename(&partial, &target).with_context(|| format!("failed to name {}", target.display()))
        })?;
        Ok(())
    }

    fn kernel_tree(&self, part: &str) -> PathBuf {
        self.settings.work().join("kernel").join(part)
    }

    fn drivers(&self, part: &str) -> PathBuf {
        self.settings.work().join("kernel").join(format!("{part}.cpio.zst"))
    }
}

fn pack_drivers(tree: &Path, target: &Path) -> Result<()> {
    let mut archive = Initramfs::base();
    archive.add_tree(tree)?;
    tree::write(target, &archive.pack(DRIVERS_LEVEL)?, MODE_DATA)
}
