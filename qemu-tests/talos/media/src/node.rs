//! The root of a node on board `vm`: Talos's programs, what machined calls of Debian's, drivers.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mkimage::components::Use;
use mkimage::kernel::Kernel;
use mkimage::squashfs::Packing;
use mkimage::tool::{self, DEPMOD};
use mkimage::tree::{self, MODE_DATA, MODE_EXECUTABLE};

use crate::sysroot::Sysroot;
use crate::{Build, kernel};

#[path = "../../root_files.rs"]
mod root_files;

use root_files::{CONTAINERD, CRI, EMPTY, PASSWD, os_release};

/// Talos's programs and their places.
pub(crate) const PROGRAMS: [(&str, &str); 4] = [
    ("machined", "usr/bin/init"),
    ("containerd", "usr/bin/containerd"),
    ("containerd-shim-runc-v2", "usr/bin/containerd-shim-runc-v2"),
    ("runc.real", "usr/bin/runc"),
];
/// Plugins of the container network interface.
pub(crate) const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// Debian's, by their path in the package and their name in the root.
const DEBIAN: [(&str, &str); 6] = [
    ("usr/bin/udevadm", "udevadm"),
    ("usr/bin/kmod", "kmod"),
    ("usr/sbin/mkfs.xfs", "mkfs.xfs"),
    ("usr/sbin/xfs_repair", "xfs_repair"),
    ("usr/sbin/xfs_growfs", "xfs_growfs"),
    ("usr/sbin/mkfs.fat", "mkfs.fat"),
];
/// Libraries that udev opens by name.
const OPENED: [&str; 2] = ["libkmod.so.2", "libblkid.so.1"];
/// mkfs.xfs takes its defaults from a file that Talos names by the kernel of its release; Debian's xfsprogs are older.
pub(crate) const XFS_DEFAULTS: (&str, &str) =
    ("usr/share/xfsprogs/mkfs/lts_6.12.conf", "usr/share/xfsprogs/mkfs/lts_6.18.conf");
/// Of udev's rules, those that name disks and load drivers: each of the others is run for every device.
const RULES: [&str; 6] =
    ["50-udev-default", "60-block", "60-persistent-storage", "60-serial", "80-drivers", "80-net-setup-link"];
const FOLDERS: [&str; 31] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "mnt",
    "var",
    "system",
    "boot/EFI",
    ".extra",
    "opt/containerd/bin",
    "opt/containerd/lib",
    "usr/etc",
    "usr/lib/firmware",
    "usr/lib/udev/hwdb.d",
    "usr/libexec/kubernetes",
    "usr/local/lib/kubelet/credentialproviders",
    "usr/local/share",
    "usr/share/zoneinfo/Etc",
    "usr/share/spdx",
    "usr/lib64",
    "etc/cni/net.d",
    "etc/cri/conf.d/hosts",
    "etc/kubernetes/manifests",
    "etc/ssl/certs",
    "etc/selinux/targeted/contexts/files",
    "etc/iscsi",
    "etc/nvme",
    "etc/lvm",
    "etc/udev",
];
const LINKS: [(&str, &str); 19] = [
    ("usr/bin", "bin"),
    ("usr/bin", "sbin"),
    ("usr/lib", "lib"),
    ("usr/lib64", "lib64"),
    ("bin", "usr/sbin"),
    ("../run", "var/run"),
    ("/usr/share/zoneinfo/Etc/UTC", "etc/localtime"),
    ("ca-certificates.crt", "etc/ssl/certs/ca-certificates"),
    ("/etc/ssl", "etc/pki"),
    ("/etc/ssl", "etc/ca-certificates"),
    ("/etc/ssl", "usr/share/ca-certificates"),
    ("/etc/ssl", "usr/local/share/ca-certificates"),
    ("init", "usr/bin/poweroff"),
    ("init", "usr/bin/shutdown"),
    ("init", "usr/bin/reboot"),
    ("init", "usr/bin/dashboard"),
    ("udevadm", "usr/bin/systemd-udevd"),
    ("kmod", "usr/bin/modprobe"),
    ("mkfs.fat", "usr/bin/mkfs.vfat"),
];
/// The groups that udev's rules name.
const GROUPS: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nkmem:x:15:\ndialout:x:20:\ncdrom:x:24:\ntape:x:26:\n\
                      audio:x:29:\nvideo:x:44:\ninput:x:101:\nsgx:x:102:\nkvm:x:103:\nrender:x:104:\n";
/// Talos's kernel has no `AppArmor`, Debian's has: there is no parser of profiles in this root.
const CRI_BASE: &str = r#"version = 3

[plugins."io.containerd.cri.v1.images"]
  discard_unpacked_layers = true
  use_local_image_pull = true

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  base_runtime_spec = "/etc/cri/conf.d/base-spec.json"

[plugins."io.containerd.nri.v1.nri"]
  disable = true
"#;
/// A node keeps the MAC addresses that its cards have.
const NETWORK_LINK: &str = "[Match]\nOriginalName=*\n\n[Link]\nNamePolicy=keep kernel database onboard slot path mac\n\
                            MACAddressPolicy=none\n";

/// Makes the root in `root`.
pub(crate) fn fill(build: &Build, kernel: &Kernel, root: &Path) -> Result<()> {
    tree::make_empty_dir(root)?;
    for folder in FOLDERS {
        tree::make_dir(&root.join(folder))?;
    }
    for name in EMPTY {
        tree::write(&root.join(name), b"", MODE_DATA)?;
    }
    for (target, name) in LINKS {
        tree::link(target, &root.join(name))?;
    }
    for (program, name) in PROGRAMS {
        tree::copy(&build.programs.join(program), &root.join(name), MODE_EXECUTABLE)?;
    }
    for plugin in PLUGINS {
        let to = root.join("opt/cni/bin").join(plugin);
        tree::copy(&build.programs.join(plugin), &to, MODE_EXECUTABLE)?;
    }
    for (name, text) in [
        ("etc/os-release", os_release(&build.version).as_str()),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUPS),
        ("etc/containerd/config.toml", CONTAINERD),
        ("etc/cri/containerd.toml", CRI),
        ("etc/cri/conf.d/00-base.part", CRI_BASE),
        ("usr/lib/systemd/network/99-default.link", NETWORK_LINK),
    ] {
        tree::write(&root.join(name), text.as_bytes(), MODE_DATA)?;
    }
    debian(build, root)?;
    drivers(build, kernel, root)
}

fn debian(build: &Build, root: &Path) -> Result<()> {
    let sysroot = Sysroot::merge(build, "sysroot", build.packages.of(Use::Root))?;
    sysroot.install(&DEBIAN, &OPENED, root)?;
    tree::link("../../bin/udevadm", &root.join("usr/lib/systemd/systemd-udevd"))?;
    let (from, to) = XFS_DEFAULTS;
    tree::copy(&sysroot.file(from)?, &root.join(to), MODE_DATA)?;
    for rule in RULES {
        let name = format!("usr/lib/udev/rules.d/{rule}.rules");
        tree::copy(&sysroot.file(&name)?, &root.join(name), MODE_DATA)?;
    }
    Ok(())
}

fn drivers(build: &Build, kernel: &Kernel, root: &Path) -> Result<()> {
    let tree: PathBuf = build.work("modules");
    tree::make_empty_dir(&tree)?;
    kernel.install(&kernel::wanted(build, kernel)?, &tree)?;
    tree::copy_all(&tree.join("lib"), &root.join("usr/lib"))?;
    // kmod reads the binary lists alone.
    DEPMOD.run(["-b", tool::text(root)?, &kernel.release]).map(drop)
}

/// Packs a root as init mounts it.
pub(crate) fn pack(root: &Path, to: &Path) -> Result<()> {
    Packing { level: SQUASHFS_LEVEL, block: SQUASHFS_BLOCK, epoch: 0 }.pack(root, to)
}

/// A machine of the lab reads it once per boot; level 19 would take a minute more and spare 10 %.
const SQUASHFS_LEVEL: u32 = 9;
/// Small: a program is read by pieces, and an emulated CPU unpacks each whole.
const SQUASHFS_BLOCK: &str = "128K";
