//! The root file system that all nodes share, read-only below each node's own layer.
//!
//! No shell and no C library is in it: what runs in it is linked statically.

#[path = "../../talos/root_files.rs"]
mod root_files;

use super::parts::{CNI_PLUGINS, Parts, talos_version};
use anyhow::{Context, Result};
use root_files::{CONTAINERD, CRI, EMPTY, PASSWD, os_release};
use std::{fs, os::unix::fs::symlink, path::Path};

/// Selects container mode everywhere in Talos.
const IN_CONTAINER: &str = "usr/etc/in-container";
const FOLDERS: [&str; 25] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "mnt",
    "var",
    "system",
    "opt/cni/bin",
    "usr/bin",
    "usr/lib/modules",
    "usr/etc",
    "usr/libexec/kubernetes",
    "usr/local/lib/kubelet/credentialproviders",
    "usr/share/zoneinfo/Etc",
    "usr/share/spdx",
    "etc/cni/net.d",
    "etc/containerd",
    "etc/cri/conf.d/hosts",
    "etc/kubernetes/manifests",
    "etc/ssl/certs",
    "etc/selinux/targeted/contexts/files",
    "etc/iscsi",
    "etc/nvme",
];
const LINKS: [(&str, &str); 9] = [
    ("usr/bin", "bin"),
    ("usr/bin", "sbin"),
    ("usr/lib", "lib"),
    ("usr/lib", "lib64"),
    ("bin", "usr/sbin"),
    ("../run", "var/run"),
    ("/usr/share/zoneinfo/Etc/UTC", "etc/localtime"),
    ("ca-certificates.crt", "etc/ssl/certs/ca-certificates"),
    ("/etc/ssl", "etc/pki"),
];
const PROGRAMS: [(&str, &str); 5] = [
    ("machined", "usr/bin/init"),
    ("containerd", "usr/bin/containerd"),
    ("containerd-shim-runc-v2", "usr/bin/containerd-shim-runc-v2"),
    ("runc.real", "usr/bin/runc.real"),
    ("runc", "usr/bin/runc"),
];
/// Makes the tree in `folder`, which must not exist. Without `may_raise` pods get no lower `oom_score_adj`.
///
/// # Errors
/// It cannot be written.
pub fn build(parts: &Parts, may_raise: bool, folder: &Path) -> Result<()> {
    for name in FOLDERS {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    }
    for name in EMPTY.into_iter().chain([IN_CONTAINER]) {
        write(folder, name, "")?;
    }
    for (target, name) in LINKS {
        let path = folder.join(name);
        symlink(target, &path).with_context(|| format!("failed to link {}", path.display()))?;
    }
    for (program, name) in PROGRAMS {
        place(&parts.program(program), &folder.join(name))?;
    }
    for plugin in CNI_PLUGINS {
        place(&parts.program(plugin), &folder.join("opt/cni/bin").join(plugin))?;
    }
    write(folder, "etc/os-release", &os_release(talos_version()?))?;
    write(folder, "etc/passwd", PASSWD)?;
    write(folder, "etc/group", "root:x:0:\n")?;
    write(folder, "etc/containerd/config.toml", CONTAINERD)?;
    write(folder, "etc/cri/containerd.toml", CRI)?;
    write(folder, "etc/cri/conf.d/00-base.part", &base_part(may_raise))
}

/// What Talos's build puts beside the parts that machined writes.
fn base_part(may_raise: bool) -> String {
    format!(
        "version = 3\n\n\
         [plugins.\"io.containerd.cri.v1.images\"]\n  discard_unpacked_layers = true\n  use_local_image_pull = true\n\n\
         [plugins.\"io.containerd.cri.v1.runtime\"]\n  disable_apparmor = true\n  restrict_oom_score_adj = {}\n\n\
         [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\n  \
         base_runtime_spec = \"/etc/cri/conf.d/base-spec.json\"\n\n\
         [plugins.\"io.containerd.nri.v1.nri\"]\n  disable = true\n",
        !may_raise
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Links a program to its place, or copies it there from another file system.
pub(super) fn place(program: &Path, to: &Path) -> Result<()> {
    let linked = fs::hard_link(program, to).or_else(|_| fs::copy(program, to).map(drop));
    linked.with_context(|| format!("failed to place {} at {}", program.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_that_forbids_it_restricts_pods() {
        assert!(base_part(false).contains("restrict_oom_score_adj = true"));
        assert!(base_part(true).contains("restrict_oom_score_adj = false"));
    }
}
