//! The lab's folder: who owns it, what lies where, and what of an earlier run must go.
//!
//! Only files below the folder are ever touched, and only processes that its own record names are ended.

use crate::patience::{POLL, scaled};
use anyhow::{Context, Result, bail};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long leftovers of a killed run may take to vanish by themselves before they are killed.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(3);
/// What a run leaves beside consoles and disks; removed at the start of the next run.
const RUN_DIR: &str = "run";

/// An owned lab folder. The lock is the kernel's: it ends with the process, however that ends.
#[derive(Debug)]
pub struct LabDir {
    root: PathBuf,
    /// The same folder, for unix sockets: their addresses hold only 108 bytes.
    handle: File,
    _lock: File,
}

impl LabDir {
    /// Takes the folder `root` (made when missing) and clears away what an earlier run left running.
    ///
    /// With `keep_state`, disks and firmware variables stay; consoles always start empty.
    ///
    /// # Errors
    /// Another lab holds the folder (its process id is named), or the folder cannot be written.
    pub async fn open(root: &Path, keep_state: bool) -> Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("failed to make {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("failed to resolve {}", root.display()))?;
        let lock = lock(&root)?;
        end_leftovers(&root).await?;
        clear(&root, keep_state).with_context(|| format!("failed to clear {}", root.display()))?;
        std::fs::create_dir_all(root.join(RUN_DIR)).context("failed to make the run folder")?;
        let handle = File::open(&root).with_context(|| format!("failed to open {}", root.display()))?;
        Ok(Self { root, handle, _lock: lock })
    }

    /// The folder itself; absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A short name for a unix socket of the folder, good in this process only.
    pub fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.handle.as_raw_fd()))
    }

    /// The console log of a machine.
    pub fn console(&self, machine: &str) -> PathBuf {
        console_path(&self.root, machine)
    }

    /// Records the process that holds all others, for [`LabDir::open`] of a later run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_holder(&self, pid: u32) -> Result<()> {
        let record = format!("{pid} {}\n", start_time(pid).unwrap_or(0));
        std::fs::write(self.root.join(RUN_DIR).join("holder"), record)
            .context("failed to record the lab's process")
    }
}

/// The console log of `machine` in the lab folder `root`.
pub fn console_path(root: &Path, machine: &str) -> PathBuf {
    root.join(format!("{machine}.console.log"))
}

/// Names of the machines that have a console log in `root`, sorted.
pub fn machines(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".console.log")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Whether the machine runs in the lab that holds `root`: whether its monitor accepts.
pub fn is_on(root: &Path, machine: &str) -> bool {
    let Ok(handle) = File::open(root) else { return false };
    let socket = format!("/proc/self/fd/{}/run/{machine}.qmp", handle.as_raw_fd());
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The process id of the lab that holds `root`, if one does.
pub fn holder_of(root: &Path) -> Option<u32> {
    let mut file = File::open(root.join("lock")).ok()?;
    match file.try_lock() {
        Ok(()) => None,
        Err(_) => read_pid(&mut file),
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    if let Err(error) = file.try_lock() {
        match error {
            std::fs::TryLockError::WouldBlock => {}
            std::fs::TryLockError::Error(error) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
        }
        let owner =
            read_pid(&mut file).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        bail!(
            "a lab already runs in {} ({owner}); stop it (Ctrl-C in its terminal), or choose another folder with --out",
            root.display()
        );
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Start time of a process in clock ticks after boot (field 22 of `proc_pid_stat(5)`): tells a process from a later
/// one with the same id.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Waits until the processes of an earlier run are gone; kills their holder when they are not by themselves.
async fn end_leftovers(root: &Path) -> Result<()> {
    let Ok(record) = std::fs::read_to_string(root.join(RUN_DIR).join("holder")) else { return Ok(()) };
    let mut fields = record.split_whitespace();
    let (Some(pid), Some(started)) = (
        fields.next().and_then(|f| f.parse::<u32>().ok()),
        fields.next().and_then(|f| f.parse::<u64>().ok()),
    ) else {
        return Ok(());
    };
    let began = Instant::now();
    let mut killed = false;
    while start_time(pid) == Some(started) && began.elapsed() < scaled(2 * LEFTOVER_LIMIT) {
        if !killed && began.elapsed() > scaled(LEFTOVER_LIMIT) {
            let raw = i32::try_from(pid).context("failed to read the recorded process id")?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(raw), nix::sys::signal::Signal::SIGKILL)
                .with_context(|| format!("failed to end process {pid} of an earlier lab"))?;
            killed = true;
        }
        tokio::time::sleep(POLL).await;
    }
    if start_time(pid) == Some(started) {
        bail!("process {pid} of an earlier lab in {} does not end", root.display());
    }
    Ok(())
}

/// Removes what a run must not inherit: sockets, consoles, logs, leases, the kubeconfig, and without `keep_state`
/// disks and firmware variables too.
fn clear(root: &Path, keep_state: bool) -> std::io::Result<()> {
    let run = root.join(RUN_DIR);
    if run.exists() {
        std::fs::remove_dir_all(run)?;
    }
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let stale = match path.extension().and_then(|e| e.to_str()) {
            Some("log" | "leases" | "leases~" | "conf" | "csv") => true,
            Some("qcow2" | "raw" | "vars" | "base") => !keep_state,
            _ => path.file_name().is_some_and(|name| name == "kubeconfig"),
        };
        if stale {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_lab_in_the_same_folder_names_the_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = LabDir::open(folder.path(), false).await.expect("an empty folder is free");
        let error = LabDir::open(folder.path(), false).await.expect_err("the folder is held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(holder_of(folder.path()), Some(std::process::id()));
        drop(first);
        assert_eq!(holder_of(folder.path()), None);
        LabDir::open(folder.path(), false).await.expect("the folder is free again");
    }

    #[tokio::test]
    async fn only_state_survives_and_only_when_asked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (keep, left) in [(true, true), (false, false)] {
            for name in [
                "a.qcow2",
                "a.disk0.raw",
                "a.vars",
                "a.console.log",
                "dhcpd.leases",
                "kubeconfig",
                "mine.txt",
            ] {
                std::fs::write(folder.path().join(name), "x").expect("a write");
            }
            drop(LabDir::open(folder.path(), keep).await.expect("a free folder"));
            assert_eq!(folder.path().join("a.qcow2").exists(), left);
            assert_eq!(folder.path().join("a.disk0.raw").exists(), left);
            assert_eq!(folder.path().join("a.vars").exists(), left);
            assert!(!folder.path().join("a.console.log").exists());
            assert!(!folder.path().join("dhcpd.leases").exists());
            assert!(!folder.path().join("kubeconfig").exists());
            assert!(folder.path().join("mine.txt").exists());
        }
    }

    #[test]
    fn start_time_is_that_of_a_living_process() {
        assert!(start_time(std::process::id()).is_some_and(|ticks| ticks > 0));
    }
}
