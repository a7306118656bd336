//! Stage `rootfs`: the read-only root of the appliance as a directory, ready for containers and
//! for mksquashfs. It must never contain a shell, a package manager or a file nobody asked for.

pub mod certificates;
pub mod libraries;
pub mod manifests;
pub mod release;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::components::Use;
use crate::packages::{Packages, Unpacked};
use crate::settings::Settings;
use crate::tree::{self, MODE_DATA, MODE_EXECUTABLE};

/// Directories that PID 1 mounts on, and the homes of nobody.
const MOUNT_POINTS: [&str; 7] = ["boot", "dev", "proc", "run", "sys", "tmp", "var"];
/// `/bin` and its kin lie in `/usr`.
const USR_MERGE: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// The programs inside the one Go program; it looks at the name it is called by.
const CONTROLPLANE_NAMES: [&str; 6] =
    ["cluster-api", "clusterctl", "etcd", "kube-apiserver", "kube-controller-manager", "talosconfig"];
/// Rust programs in `/usr/bin`.
const SERVICES: [&str; 4] = ["appliance", "bootsvc", "controllers", "siderolink"];
/// Programs of Debian packages: path in the package, path in the root, further names.
const DEBIAN_PROGRAMS: [(&str, &str, &[&str]); 2] = [
    ("sbin/mke2fs", "usr/sbin/mke2fs", &["usr/sbin/mkfs.ext4"]),
    ("sbin/e2fsck", "usr/sbin/e2fsck", &["usr/sbin/fsck.ext4"]),
];
/// Without it mke2fs does not know what ext4 is.
const DEBIAN_FILES: [(&str, &str); 1] = [("etc/mke2fs.conf", "etc/mke2fs.conf")];
/// iPXE: name in the package, name we serve. snponly drives the NIC through the firmware; there
/// is none for arm64, so the full one stands in.
const IPXE_FILES: [(&str, &str); 5] = [
    ("undionly.kpxe", "undionly.kpxe"),
    ("snponly.efi", "snp.efi"),
    ("ipxe-amd64.efi", "ipxe.efi"),
    ("ipxe-arm64.efi", "snp-arm64.efi"),
    ("ipxe-arm64.efi", "ipxe-arm64.efi"),
];
/// Where iPXE lies in its package.
const IPXE_DIR: &str = "usr/lib/ipxe";
/// Product data in the root.
const SHARE: &str = "usr/share/bloomery";

/// What other stages made for the root.
#[derive(Debug)]
pub struct Parts<'a> {
    pub packages: &'a Packages,
    /// Directory with `lib/modules` and `lib/firmware` for the root.
    pub kernel_tree: &'a Path,
    /// The kernel that the agent boots.
    pub vmlinuz: &'a Path,
    pub agent_initramfs: &'a Path,
}

/// Fills `settings.rootfs()` from nothing.
pub fn compose(settings: &Settings, parts: &Parts) -> Result<()> {
    let root = settings.rootfs();
    tree::make_empty_dir(&root)?;
    for dir in MOUNT_POINTS {
        tree::make_dir(&root.join(dir))?;
    }
    for dir in USR_MERGE {
        tree::make_dir(&root.join("usr").join(dir))?;
        tree::link(&format!("usr/{dir}"), &root.join(dir))?;
    }
    tree::copy_all(&settings.verbatim(), &root)?;
    release::write(&root, &settings.version, settings.epoch)?;
    own_programs(settings, &root)?;
    debian_programs(parts.packages, &root)?;
    tree::copy_all(&parts.kernel_tree.join("lib"), &root.join("usr/lib"))?;
    certificates::install(parts.packages.only(Use::Certificates)?, &root)?;
    let share = root.join(SHARE);
    boot_files(parts, &share)?;
    manifests::install(settings, &share.join("manifests"))?;
    tree::copy(&settings.components(), &share.join("components.toml"), MODE_DATA)?;
    tree::copy(&settings.taken_lock(), &share.join("components.lock"), MODE_DATA)?;
    copyrights(parts.packages, &root)
}

fn own_programs(settings: &Settings, root: &Path) -> Result<()> {
    let bin = root.join("usr/bin");
    tree::copy(&settings.program("init")?, &root.join("usr/sbin/init"), MODE_EXECUTABLE)?;
    for name in SERVICES {
        tree::copy(&settings.program(name)?, &bin.join(name), MODE_EXECUTABLE)?;
    }
    tree::copy(&settings.controlplane, &bin.join("controlplane"), MODE_EXECUTABLE)?;
    for name in CONTROLPLANE_NAMES {
        tree::link("controlplane", &bin.join(name))?;
    }
    Ok(())
}

fn debian_programs(packages: &Packages, root: &Path) -> Result<()> {
    let sources: Vec<&Unpacked> = packages.of(Use::Root).collect();
    for (from, to, names) in DEBIAN_PROGRAMS {
        tree::copy(&find(&sources, from)?, &root.join(to), MODE_EXECUTABLE)?;
        let program = Path::new(to).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for name in names {
            tree::link(program, &root.join(name))?;
        }
    }
    for (from, to) in DEBIAN_FILES {
        tree::copy(&find(&sources, from)?, &root.join(to), MODE_DATA)?;
    }
    let programs: Vec<PathBuf> = DEBIAN_PROGRAMS.iter().map(|(_, to, _)| root.join(to)).collect();
    let dirs: Vec<&Path> = sources.iter().map(|package| package.dir.as_path()).collect();
    libraries::install(&programs, &dirs, root)
}

fn find(packages: &[&Unpacked], relative: &str) -> Result<PathBuf> {
    packages
        .iter()
        .filter_map(|package| tree::resolve_in(&package.dir, Path::new(relative)).ok())
        .find(|path| path.is_file())
        .with_context(|| format!("no package of components.toml has {relative}"))
}

fn boot_files(parts: &Parts, share: &Path) -> Result<()> {
    let ipxe = parts.packages.only(Use::Ipxe)?.dir.join(IPXE_DIR);
    for (from, to) in IPXE_FILES {
        tree::copy(&ipxe.join(from), &share.join("ipxe").join(to), MODE_DATA)?;
    }
    let agent = share.join("agent/amd64");
    tree::copy(parts.vmlinuz, &agent.join("vmlinuz"), MODE_DATA)?;
    tree::copy(parts.agent_initramfs, &agent.join("initramfs.xz"), MODE_DATA)
}

/// Licence texts of what came from Debian. A package whose documentation is that of another
/// package of the same source has none of its own; its licence stands in components.toml.
fn copyrights(packages: &Packages, root: &Path) -> Result<()> {
    for package in packages.all() {
        let name = &package.locked.package;
        let directory = Path::new("usr/share/doc").join(name);
        if package.dir.join(&directory).is_symlink() {
            continue;
        }
        let relative = directory.join("copyright");
        let Ok(file) = tree::resolve_in(&package.dir, &relative) else {
            bail!("package {name} has no copyright file");
        };
        tree::copy(&file, &root.join(&relative), MODE_DATA)?;
    }
    Ok(())
}
