//! First process of the machine's namespaces: makes its file systems and becomes the image's PID 1.
//!
//! It must never run outside of namespaces made for it, and nothing of it may be left when PID 1 starts.

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, mknod},
    unistd::{chdir, pivot_root},
};
use std::{
    ffi::OsString,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// The image's PID 1.
const INIT: &str = "/sbin/init";
/// What container managers tell PID 1 (systemd's container interface).
const CONTAINER: (&str, &str) = ("container", "bloomery-lab");
/// Where the new root is put together: hidden by a mount, in a mount namespace of our own.
const STAGE: &str = "/mnt";
/// Device nodes that the image needs; those of the host, bound, since nodes cannot be made in a user namespace.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "kmsg"];
/// Links that programs expect.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("pts/ptmx", "ptmx"),
];

/// `ROOT VAR BOOT`: does all that the head of this file says. Returns only when it failed.
///
/// # Errors
/// It is not the first process of a PID namespace, or a step failed.
pub fn run(arguments: &[OsString]) -> Result<()> {
    if std::process::id() != 1 {
        bail!("failed to enter the machine: this is a part of the lab, not a command");
    }
    let [root, var, boot] = arguments else { bail!("failed to enter the machine: usage: ROOT VAR BOOT") };
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("failed to make the mounts private")?;
    let stage = Path::new(STAGE);
    bind(Path::new(root), stage)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, stage, None::<&str>, read_only, None::<&str>)
        .context("failed to make the root read-only")?;
    bind(Path::new(var), &stage.join("var"))?;
    bind(Path::new(boot), &stage.join("boot"))?;
    devices(&stage.join("dev"))?;
    // In a user namespace the kernel allows these only while the old root's are in sight.
    for (kind, place) in [("proc", "proc"), ("sysfs", "sys")] {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(kind), &stage.join(place), Some(kind), flags, None::<&str>)
            .with_context(|| format!("failed to mount {kind}"))?;
    }
    chdir(stage).context("failed to go to the new root")?;
    // Onto itself: the old root then lies on top of the new one and is taken away by its name (pivot_root(2)).
    pivot_root(".", ".").context("failed to change the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("failed to take the old root away")?;
    chdir("/").context("failed to go to the root")?;
    let error = Command::new(INIT).env_clear().env(CONTAINER.0, CONTAINER.1).exec();
    Err(error).with_context(|| format!("failed to start {INIT}"))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("failed to bind {} to {}", source.display(), target.display()))
}

/// For WireGuard where the host's kernel has none: a node that the service's own user may open, or the host's.
fn tun(dev: &Path) -> Result<()> {
    let host = Path::new("/dev/net/tun");
    let Ok(metadata) = fs::metadata(host) else { return Ok(()) };
    let node = dev.join("net/tun");
    fs::create_dir(dev.join("net")).context("failed to make /dev/net")?;
    let mode = Mode::from_bits_truncate(0o666);
    if mknod(&node, SFlag::S_IFCHR, mode, metadata.rdev()).is_err() {
        fs::write(&node, "").with_context(|| format!("failed to make {}", node.display()))?;
        return bind(host, &node);
    }
    let all = fs::Permissions::from_mode(0o666);
    fs::set_permissions(&node, all).with_context(|| format!("failed to open up {}", node.display()))
}

/// A /dev of its own: devtmpfs would be the host's.
fn devices(dev: &Path) -> Result<()> {
    mount(Some("tmpfs"), dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755,size=64k"))
        .context("failed to mount a file system for devices")?;
    for name in DEVICES {
        let (host, node): (PathBuf, PathBuf) = (Path::new("/dev").join(name), dev.join(name));
        if host.exists() {
            fs::write(&node, "").with_context(|| format!("failed to make {}", node.display()))?;
            bind(&host, &node)?;
        }
    }
    tun(dev)?;
    for (target, name) in LINKS {
        symlink(target, dev.join(name)).with_context(|| format!("failed to link /dev/{name}"))?;
    }
    Ok(())
}
