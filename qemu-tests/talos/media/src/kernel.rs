//! Debian's kernel for Talos: its packages as one, and the modules that a machine of the lab needs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use mkimage::components::Use;
use mkimage::kernel::Kernel;
use mkimage::packages::Unpacked;
use mkimage::tree::{self, MODE_DATA};

use crate::Build;

const MODULES: &str = "usr/lib/modules";
/// What `/init` loads: see the program talos-builtins.
const BUILT_IN: [&str; 6] = ["loop", "squashfs", "configfs", "efivarfs", "overlay", "br_netfilter"];
/// The board, file systems, and the networks of pods.
const WANTED: [&str; 22] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "nvme",
    "virtio_scsi",
    "sd_mod",
    "ahci",
    "xfs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "nls_iso8859_1",
    "bridge",
    "veth",
    "tun",
    "vxlan",
    "dummy",
    "wireguard",
    "nf_tables",
    "dm_mod",
];
/// Folders of which every module goes along: rules of kube-proxy and of pods name what they like.
const FOLDERS: [&str; 3] = ["kernel/net/netfilter", "kernel/net/ipv4/netfilter", "kernel/net/ipv6/netfilter"];
/// Of these, what no rule of a node names.
const LEFT_OUT: [&str; 2] = ["ipset/", "ipvs/"];

/// Lays the kernel's packages together: Debian's newer kernels come in three.
pub(crate) fn open(build: &Build) -> Result<Kernel> {
    let dir = build.work("kernel");
    tree::make_empty_dir(&dir)?;
    let mut locked = None;
    for package in build.packages.of(Use::Kernel) {
        tree::copy_all(&package.dir.join("usr"), &dir.join("usr"))?;
        locked = Some(package.locked.clone());
    }
    let locked = locked.context("components.toml lists no kernel")?;
    tree::link("usr/lib", &dir.join("lib"))?;
    let Some(release) = std::fs::read_dir(dir.join(MODULES))?.find_map(Result::ok) else {
        bail!("package {} has no modules", locked.package);
    };
    let name = release.file_name().to_string_lossy().into_owned();
    tree::copy(&release.path().join("vmlinuz"), &dir.join(format!("boot/vmlinuz-{name}")), MODE_DATA)?;
    Kernel::open(&Unpacked { locked, used_for: Use::Kernel, dir })
}

/// For the initramfs.
pub(crate) fn built_in(kernel: &Kernel) -> Result<BTreeSet<PathBuf>> {
    choose(kernel, BUILT_IN.iter().copied())
}

/// For the node's root.
pub(crate) fn wanted(build: &Build, kernel: &Kernel) -> Result<BTreeSet<PathBuf>> {
    let mut modules = choose(kernel, BUILT_IN.iter().chain(&WANTED).copied())?;
    for folder in FOLDERS {
        let dir = build.work("kernel").join(MODULES).join(&kernel.release).join(folder);
        let names: Vec<String> = tree::walk(&dir)?
            .into_iter()
            .map(|entry| entry.relative.display().to_string())
            .filter(|path| !LEFT_OUT.iter().any(|part| path.starts_with(part)))
            .filter_map(|path| Some(path.rsplit('/').next()?.split_once(".ko")?.0.to_owned()))
            .collect();
        modules.extend(choose(kernel, names.iter().map(String::as_str))?);
    }
    Ok(modules)
}

fn choose<'a>(kernel: &Kernel, names: impl Iterator<Item = &'a str>) -> Result<BTreeSet<PathBuf>> {
    let (modules, missing) = kernel.closure(names);
    if !missing.is_empty() {
        bail!("kernel {} lacks {}", kernel.release, missing.join(", "));
    }
    Ok(modules)
}
