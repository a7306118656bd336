//! From the initramfs to the real root, as `switch_root(8)` of util-linux does it.
//!
//! It never deletes from anything but a memory file system that is the root: a wrong call on a running system must
//! find its disk untouched.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::MsFlags;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::Error;

/// Mounts that move along, where the new root has the directory.
const MOVED: [&str; 4] = ["dev", "proc", "sys", "run"];
/// `statfs` types of the initramfs' root: `RAMFS_MAGIC` and `TMPFS_MAGIC` of linux/magic.h.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x8584_58f6, 0x0102_1994];
/// Deepest directory that is emptied; the initramfs has about eight levels.
const MAX_DEPTH: usize = 64;

/// Makes `new_root` the root of this process: moves /dev, /proc, /sys and /run into it, moves it over `/`, and frees
/// the initramfs' memory. The caller goes on with exec of the real init.
///
/// Errors of freeing are dropped: they cost memory and nothing else.
pub fn switch_root(new_root: &Path) -> Result<(), Error> {
    let at = |step: &'static str| {
        move |source: io::Error| Error::SwitchRoot { step, path: new_root.into(), source }
    };
    let old_root = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| at("open the old root")(errno.into()))?;
    for name in MOVED {
        let (from, to) = (Path::new("/").join(name), new_root.join(name));
        if super::is_mount_point(&from) && to.is_dir() {
            move_mount(&from, &to).map_err(at("move the kernel's file systems"))?;
        }
    }
    std::env::set_current_dir(new_root).map_err(at("enter the new root"))?;
    move_mount(Path::new("."), Path::new("/")).map_err(at("move the new root into place"))?;
    std::os::unix::fs::chroot(".").map_err(at("change the root"))?;
    std::env::set_current_dir("/").map_err(at("enter the new root"))?;
    free(&old_root);
    Ok(())
}

fn move_mount(from: &Path, to: &Path) -> io::Result<()> {
    nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(io::Error::from)
}

/// Deletes what is below `root` on the same file system, if that is a memory file system.
fn free(root: &OwnedFd) {
    let is_memory = rustix::fs::fstatfs(root).is_ok_and(|statfs| {
        u64::try_from(statfs.f_type).is_ok_and(|kind| MEMORY_FILE_SYSTEMS.contains(&kind))
    });
    if let (true, Ok(stat)) = (is_memory, rustix::fs::fstat(root)) {
        empty(root, stat.st_dev, MAX_DEPTH);
    }
}

/// Empties one directory of device `device`; other mounts below it are left alone.
fn empty(directory: &OwnedFd, device: u64, depth: usize) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if stat.st_dev != device {
            continue;
        }
        let mut flags = AtFlags::empty();
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let (Ok(below), true) = (rustix::fs::openat(directory, name, open, Mode::empty()), depth > 0) {
                empty(&below, device, depth - 1);
            }
            flags = AtFlags::REMOVEDIR;
        }
        // A busy mount stays.
        let _ = rustix::fs::unlinkat(directory, name, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn empties_a_tree_but_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(inside.join("a/b/c")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(inside.join("a/file"), "x").unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let root = open(&inside);
        let device = rustix::fs::fstat(&root).unwrap().st_dev;
        empty(&root, device, MAX_DEPTH);
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn leaves_other_devices_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        let root = open(dir.path());
        let device = rustix::fs::fstat(&root).unwrap().st_dev;
        empty(&root, device + 1, MAX_DEPTH);
        assert!(dir.path().join("kept").exists());
    }
}
