//! Mounts: the kernel's own file systems, and the step from the initramfs to the real root.
//!
//! It never deletes anything but the initramfs' own memory file system, and never crosses into another mount.

mod switch_root;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
pub use nix::mount::{MntFlags as UmountFlags, MsFlags as Flags};

pub use switch_root::switch_root;

/// Why a mount operation failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to make the directory {path:?}")]
    MakeTarget { path: PathBuf, source: io::Error },
    /// `mount(2)`.
    #[error("failed to mount {what} on {path:?}")]
    Mount { what: String, path: PathBuf, source: Errno },
    /// `umount2(2)`.
    #[error("failed to unmount {path:?}")]
    Unmount { path: PathBuf, source: Errno },
    #[error("failed to read the table of mounts")]
    ReadTable(#[source] io::Error),
    #[error("failed to {step} while changing the root to {path:?}")]
    SwitchRoot { step: &'static str, path: PathBuf, source: io::Error },
}

/// One file system to mount.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a> {
    /// Device, or the type's name where there is none.
    pub source: &'a Path,
    /// Where; made if it is not there.
    pub target: &'a Path,
    /// Type.
    pub fstype: &'a str,
    /// Flags.
    pub flags: Flags,
    /// Options of the file system itself.
    pub data: &'a str,
}

impl Mount<'_> {
    /// Mounts it.
    pub fn mount(&self) -> Result<(), Error> {
        std::fs::create_dir_all(self.target)
            .or_else(|error| if self.target.is_dir() { Ok(()) } else { Err(error) })
            .map_err(|source| Error::MakeTarget { path: self.target.into(), source })?;
        let data = (!self.data.is_empty()).then_some(self.data);
        nix::mount::mount(Some(self.source), self.target, Some(self.fstype), self.flags, data).map_err(
            |source| Error::Mount {
                what: format!("{} ({})", self.source.display(), self.fstype),
                path: self.target.into(),
                source,
            },
        )
    }
}

/// Options of one mount that a running system still wants changed.
pub fn remount(target: &Path, flags: Flags) -> Result<(), Error> {
    nix::mount::mount(None::<&Path>, target, None::<&str>, flags | Flags::MS_REMOUNT, None::<&str>)
        .map_err(|source| Error::Mount { what: "again".into(), path: target.into(), source })
}

/// Makes `source` visible at `target` too.
pub fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    nix::mount::mount(Some(source), target, None::<&str>, Flags::MS_BIND | Flags::MS_REC, None::<&str>)
        .map_err(|cause| Error::Mount {
            what: source.display().to_string(),
            path: target.into(),
            source: cause,
        })
}

/// Unmounts. `UmountFlags::MNT_DETACH` takes it out of sight at once even where it is busy.
pub fn unmount(target: &Path, flags: UmountFlags) -> Result<(), Error> {
    nix::mount::umount2(target, flags).map_err(|source| Error::Unmount { path: target.into(), source })
}

/// One line of /proc/self/mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Device or name.
    pub source: String,
    /// Where.
    pub target: PathBuf,
    /// Type.
    pub fstype: String,
    /// Options, joined by commas.
    pub options: String,
}

/// What is mounted now, in the order of mounting.
pub fn table() -> Result<Vec<Mounted>, Error> {
    std::fs::read_to_string("/proc/self/mounts").map(|text| parse_table(&text)).map_err(Error::ReadTable)
}

fn parse_table(text: &str) -> Vec<Mounted> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').map(unescape);
            Some(Mounted {
                source: fields.next()?,
                target: fields.next()?.into(),
                fstype: fields.next()?,
                options: fields.next()?,
            })
        })
        .collect()
}

/// Undoes the octal escapes for blank, tab, line end and backslash (proc(5)).
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// Whether something is mounted exactly at `target`: it lies on another device than its parent, or is a root.
pub fn is_mount_point(target: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let parent = target.join("..");
    match (std::fs::metadata(target), std::fs::metadata(parent)) {
        (Ok(own), Ok(up)) => own.dev() != up.dev() || own.ino() == up.ino(),
        _ => false,
    }
}

/// `nosuid,nodev,noexec`: for everything that holds no programs.
const DATA_ONLY: Flags = Flags::MS_NOSUID.union(Flags::MS_NODEV).union(Flags::MS_NOEXEC);

/// The kernel's file systems in the order of mounting: type, place, flags, options.
const API_FILE_SYSTEMS: [(&str, &str, Flags, &str); 8] = [
    ("proc", "/proc", DATA_ONLY, "hidepid=2"),
    ("sysfs", "/sys", DATA_ONLY, ""),
    ("devtmpfs", "/dev", Flags::MS_NOSUID, "mode=0755"),
    ("devpts", "/dev/pts", Flags::MS_NOSUID.union(Flags::MS_NOEXEC), "mode=0620,gid=5,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", DATA_ONLY, "mode=1777,size=16m"),
    ("tmpfs", "/run", DATA_ONLY, "mode=0755,size=25%"),
    ("tmpfs", "/tmp", DATA_ONLY, "mode=1777,size=25%"),
    ("cgroup2", "/sys/fs/cgroup", DATA_ONLY, "nsdelegate"),
];

/// What became of one of the kernel's file systems.
#[derive(Debug)]
pub struct ApiMount {
    /// Where.
    pub target: PathBuf,
    /// Why it is not there; `None` if it is, freshly or from before.
    pub error: Option<Error>,
}

/// What the initramfs needs of them, all of which move to the real root.
const EARLY_FILE_SYSTEMS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Mounts /proc, /sys, /dev and /run for the initramfs. See [`mount_api_file_systems`].
pub fn mount_early_file_systems() -> Vec<ApiMount> {
    mount_some(|_, target| EARLY_FILE_SYSTEMS.contains(&target))
}

/// Mounts what of the kernel's file systems is not there yet: proc, sysfs, devtmpfs, devpts, tmpfs on /dev/shm, /run
/// and /tmp, cgroup v2. A failure leaves the others alone; `in_container` leaves /dev to the container's manager.
pub fn mount_api_file_systems(in_container: bool) -> Vec<ApiMount> {
    mount_some(|fstype, _| !(in_container && fstype == "devtmpfs"))
}

fn mount_some(wanted: impl Fn(&str, &str) -> bool) -> Vec<ApiMount> {
    API_FILE_SYSTEMS
        .iter()
        .filter(|(fstype, target, ..)| wanted(fstype, target))
        .map(|(fstype, target, flags, data)| {
            let target = PathBuf::from(target);
            let error =
                if is_mount_point(&target) { None } else { mount_api(fstype, &target, *flags, data).err() };
            ApiMount { target, error }
        })
        .collect()
}

fn mount_api(fstype: &str, target: &Path, flags: Flags, data: &str) -> Result<(), Error> {
    let mount = |data| Mount { source: Path::new(OsStr::new(fstype)), target, fstype, flags, data }.mount();
    match mount(data) {
        // Busy: already there. Invalid: an option that this kernel or namespace does not know; better without it.
        Err(Error::Mount { source: Errno::EBUSY, .. }) => Ok(()),
        Err(Error::Mount { source: Errno::EINVAL | Errno::EPERM, .. }) if !data.is_empty() => mount(""),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_of_mounts() {
        let text = "proc /proc proc rw,nosuid 0 0\n/dev/sda1 /a\\040b ext4 ro 0 0\nshort line\n";
        let table = parse_table(text);
        assert_eq!(table.len(), 2);
        assert_eq!(table[1].target, Path::new("/a b"));
        assert_eq!((table[1].fstype.as_str(), table[1].options.as_str()), ("ext4", "ro"));
    }

    #[test]
    fn knows_mount_points() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(is_mount_point(Path::new("/")));
        assert!(!is_mount_point(Path::new("/proc/self")));
        assert!(!is_mount_point(Path::new("/nonexistent")));
    }

    #[test]
    fn names_what_failed_to_mount() {
        let dir = tempfile::tempdir().unwrap();
        let error = Mount {
            source: Path::new("none"),
            target: dir.path(),
            fstype: "no-such-fs",
            flags: Flags::empty(),
            data: "",
        }
        .mount()
        .unwrap_err();
        assert!(error.to_string().starts_with("failed to mount none (no-such-fs) on"), "{error}");
    }
}
