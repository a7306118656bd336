//! Builds the boot media of the lab's Talos: kernel, initramfs, and the files of the installer's image.
//!
//! Talos's own programs are unmodified; Debian's pieces stand where Talos's build has its own.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

mod installer;
mod kernel;
mod node;
mod sysroot;
mod uki;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use mkimage::apt::Mirrors;
use mkimage::components::{Components, Use};
use mkimage::initramfs::Initramfs;
use mkimage::packages::{Packages, Policy};
use mkimage::stage::{Inputs, Stages};
use mkimage::tree::{self, MODE_DATA, MODE_EXECUTABLE};

/// The root is compressed already.
const INITRAMFS_LEVEL: i32 = 3;
/// Behind Talos's own defaults, for a machine that is emulated: each of them spares minutes.
///
/// `pti=on` is a word that Talos insists on; behind it `nopti` spares a flush of the emulated TLB at every system call.
const KERNEL_ARGUMENTS: [&str; 9] = [
    "console=ttyS0",
    "-selinux",
    "talos.dashboard.disabled=1",
    "net.ifnames=0",
    "panic=10",
    // As Talos's own kernel is built; kubelet insists.
    "oops=panic",
    "nopti",
    "mitigations=off",
    "init_on_alloc=0",
];

/// Builds kernel, initramfs and installer of the lab's Talos.
#[derive(Debug, Parser)]
struct Cli {
    /// Folder with components.toml and components.lock
    #[arg(long)]
    recipe: PathBuf,
    /// Folder of Talos's programs
    #[arg(long)]
    programs: PathBuf,
    /// The static program talos-builtins
    #[arg(long)]
    builtins: PathBuf,
    /// Folder of the results
    #[arg(long)]
    out: PathBuf,
    /// Folder of downloads
    #[arg(long)]
    cache: PathBuf,
    /// Version of Talos, with its v
    #[arg(long)]
    talos_version: String,
    /// Take the suites' current packages, record them and stop
    #[arg(long)]
    update: bool,
    /// Debian mirror [default: the machine's own]
    #[arg(long, value_name = "URI", env = "BLOOMERY_MIRROR")]
    mirror: Option<String>,
}

/// What all parts of a build use.
#[derive(Debug)]
struct Build {
    packages: Packages,
    programs: PathBuf,
    builtins: PathBuf,
    version: String,
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talos-media: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).context("failed to find a given path");
    let (out, cache) = (absolute(&cli.out)?, absolute(&cli.cache)?);
    let components = Components::load(&cli.recipe.join("components.toml"))?;
    let mirrors = Mirrors { main: cli.mirror, security: None };
    let policy = if cli.update { Policy::Update } else { Policy::Locked };
    tree::make_dir(&cache)?;
    let (recorded, taken) = (cli.recipe.join("components.lock"), cache.join("components.lock"));
    let packages = Packages::prepare(&components, &recorded, &taken, &cache, &mirrors, policy)?;
    if cli.update {
        return Ok(());
    }
    let build = Build {
        packages,
        programs: absolute(&cli.programs)?,
        builtins: absolute(&cli.builtins)?,
        version: cli.talos_version,
        out,
    };
    build.all()
}

impl Build {
    fn all(&self) -> Result<()> {
        let mut inputs = Inputs::new("talos media 1")
            .text("packages", &self.packages.key(&[Use::Kernel, Use::Root, Use::BootLoader]))
            .text("version", &self.version)
            .text("arguments", &KERNEL_ARGUMENTS.join(" "))
            .file(&self.builtins)?
            .file(&std::env::current_exe().context("failed to find this program")?)?;
        for name in
            node::PROGRAMS.iter().map(|(name, _)| *name).chain(node::PLUGINS).chain(["init", "installer"])
        {
            inputs = inputs.file(&self.programs.join(name))?;
        }
        let (vmlinuz, initramfs) = (self.out.join("vmlinuz"), self.out.join("initramfs.xz"));
        let (cmdline, installer) = (self.out.join("cmdline"), self.out.join("installer"));
        let outputs = [vmlinuz.as_path(), &initramfs, &cmdline, &installer];
        Stages::new(self.out.join("stamps")).run("talos", &inputs, &outputs, || {
            self.kernel_and_initramfs(&vmlinuz, &initramfs)?;
            let uki = self.work("uki");
            let arguments = uki::build(self, &vmlinuz, &initramfs, &uki)?;
            tree::write(&cmdline, arguments.as_bytes(), MODE_DATA)?;
            installer::fill(self, &uki.join(uki::FILE), &installer)?;
            fs::remove_dir_all(self.out.join("work")).context("failed to remove the work folder")
        })?;
        Ok(())
    }

    fn kernel_and_initramfs(&self, vmlinuz: &Path, initramfs: &Path) -> Result<()> {
        let kernel = kernel::open(self)?;
        let root = self.work("root");
        node::fill(self, &kernel, &root)?;
        let boot = self.work("initramfs");
        tree::make_empty_dir(&boot)?;
        node::pack(&root, &boot.join("rootfs.sqsh"))?;
        kernel.install(&kernel::built_in(&kernel)?, &boot)?;
        tree::copy(&self.builtins, &boot.join("init"), MODE_EXECUTABLE)?;
        tree::copy(&self.programs.join("init"), &boot.join("talos-init"), MODE_EXECUTABLE)?;
        let mut archive = Initramfs::base();
        archive.add_tree(&boot)?;
        tree::write(initramfs, &archive.pack(INITRAMFS_LEVEL)?, MODE_DATA)?;
        tree::copy(&kernel.vmlinuz, vmlinuz, MODE_DATA)
    }

    fn work(&self, name: &str) -> PathBuf {
        self.out.join("work").join(name)
    }
}
