//! The files of the installer's image: the real installer, what it calls, and the unified kernel image.

use std::path::Path;

use anyhow::Result;
use mkimage::components::Use;
use mkimage::tree::{self, MODE_DATA, MODE_EXECUTABLE};

use crate::node::XFS_DEFAULTS;
use crate::sysroot::Sysroot;
use crate::{Build, uki};

const PROGRAMS: [(&str, &str); 4] = [
    ("usr/sbin/mkfs.fat", "mkfs.fat"),
    ("usr/sbin/mkfs.xfs", "mkfs.xfs"),
    ("usr/bin/mtools", "mtools"),
    ("usr/sbin/grub-install", "grub-install"),
];
/// GRUB for BIOS; machines with UEFI get systemd-boot.
const GRUB: &str = "usr/lib/grub/i386-pc";
const FOLDERS: [&str; 9] = ["boot", "dev", "proc", "sys", "run", "tmp", "var", "etc", "usr/lib64"];
const LINKS: [(&str, &str); 8] = [
    ("usr/bin", "bin"),
    ("usr/bin", "sbin"),
    ("usr/lib", "lib"),
    ("usr/lib64", "lib64"),
    ("bin", "usr/sbin"),
    ("../run", "var/run"),
    ("mkfs.fat", "usr/bin/mkfs.vfat"),
    ("mtools", "usr/bin/mcopy"),
];
/// glibc's conversions of characters: mtools has file names converted to code page 850.
const CONVERSIONS: &str = "usr/lib/x86_64-linux-gnu/gconv";
const CONVERSION: &str = "IBM850.so";
/// Which file converts what.
const CONVERSION_TABLES: [&str; 2] = ["gconv-modules", "gconv-modules.d/gconv-modules-extra.conf"];
/// Where the installer looks for its assets.
const ASSETS: &str = "usr/install/amd64";

pub(crate) fn fill(build: &Build, image: &Path, root: &Path) -> Result<()> {
    tree::make_empty_dir(root)?;
    for folder in FOLDERS {
        tree::make_dir(&root.join(folder))?;
    }
    for (target, name) in LINKS {
        tree::link(target, &root.join(name))?;
    }
    let packages = build.packages.of(Use::Root).chain(build.packages.of(Use::BootLoader));
    let sysroot = Sysroot::merge(build, "installer", packages)?;
    sysroot.install(&PROGRAMS, &[], root)?;
    let (from, to) = XFS_DEFAULTS;
    tree::copy(&sysroot.file(from)?, &root.join(to), MODE_DATA)?;
    tree::copy_all(&sysroot.file(GRUB)?, &root.join(GRUB))?;
    for name in CONVERSION_TABLES.into_iter().chain([CONVERSION]) {
        let file = format!("{CONVERSIONS}/{name}");
        tree::copy(&sysroot.file(&file)?, &root.join(&file), MODE_DATA)?;
    }
    tree::write(&root.join("etc/passwd"), b"root:x:0:0:root:/root:/sbin/nologin\n", MODE_DATA)?;
    tree::write(&root.join("etc/group"), b"root:x:0:\n", MODE_DATA)?;
    let assets = root.join(ASSETS);
    tree::copy(image, &assets.join("vmlinuz.efi"), MODE_DATA)?;
    tree::copy(&sysroot.file(uki::BOOT)?, &assets.join("systemd-boot.efi"), MODE_DATA)?;
    tree::copy(&build.programs.join("installer"), &root.join("usr/bin/installer"), MODE_EXECUTABLE)
}
