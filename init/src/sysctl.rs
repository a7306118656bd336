//! The kernel's settings of an appliance that runs nobody's programs but its own.
//!
//! Data with reasons. A setting that this kernel has not, or that the host refuses, is logged; the next one is set
//! all the same.

use crate::context::Context;
use crate::outcome::Outcome;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel shows them.
pub const ROOT: &str = "/proc/sys";
/// Never killed by the out-of-memory killer; every child is given a score of its own.
const NEVER: &str = "-1000";
/// Of this process.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Stands for each entry of a directory.
const EACH: &str = "*";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Path below [`ROOT`]; `*` is each interface, those to come (`default`) included.
    pub path: &'static str,
    pub value: &'static str,
    pub reason: &'static str,
}

const fn set(path: &'static str, value: &'static str, reason: &'static str) -> Setting {
    Setting { path, value, reason }
}

pub const SETTINGS: [Setting; 33] = [
    set("kernel/kptr_restrict", "2", "kernel addresses help to attack the kernel"),
    set("kernel/dmesg_restrict", "1", "so do its messages; PID 1 reads them as root"),
    set("kernel/sysrq", "0", "a keyboard or a serial line must not kill, dump or restart"),
    set("kernel/yama/ptrace_scope", "3", "no process looks into another; nothing here is debugged in place"),
    set("kernel/kexec_load_disabled", "1", "no other kernel is started from this one"),
    set("kernel/unprivileged_bpf_disabled", "1", "no service loads programs into the kernel"),
    set("net/core/bpf_jit_harden", "2", "constants in compiled filters are blinded"),
    set("kernel/perf_event_paranoid", "3", "no service measures others"),
    set("kernel/io_uring_disabled", "2", "none of our programs uses it, and it goes around seccomp"),
    set("kernel/randomize_va_space", "2", "addresses of programs and heaps differ at each start"),
    set(
        "user/max_user_namespaces",
        "0",
        "they make parts of the kernel reachable that only root should reach",
    ),
    set("dev/tty/ldisc_autoload", "0", "no line disciplines beside the usual one"),
    set("vm/unprivileged_userfaultfd", "0", "it makes races in the kernel easy to win"),
    set("vm/mmap_min_addr", "65536", "null pointers of the kernel point nowhere"),
    set("fs/protected_symlinks", "1", "links of others in shared directories are not followed"),
    set("fs/protected_hardlinks", "1", "files of others are not linked"),
    set("fs/protected_fifos", "2", "pipes of others in shared directories are not opened"),
    set("fs/protected_regular", "2", "files of others in shared directories are not opened for writing"),
    set("fs/suid_dumpable", "0", "programs that changed their user leave no core"),
    set("net/ipv4/conf/*/accept_redirects", "0", "a host must not move our routes"),
    set("net/ipv4/conf/*/secure_redirects", "0", "nor one that says it is a gateway"),
    set("net/ipv4/conf/*/send_redirects", "0", "the plane is no router"),
    set("net/ipv4/conf/*/accept_source_route", "0", "a sender must not choose the way"),
    set("net/ipv6/conf/*/accept_redirects", "0", "a host must not move our routes"),
    set("net/ipv6/conf/*/accept_source_route", "0", "a sender must not choose the way"),
    set("net/ipv4/neigh/default/gc_thresh2", "8192", "a full table of neighbours would hide machines' cards"),
    set("net/ipv4/neigh/default/gc_thresh3", "16384", "so it would; the kernel keeps 1,024 by itself"),
    set("net/ipv6/neigh/default/gc_thresh2", "8192", "the same for IPv6"),
    set("net/ipv6/neigh/default/gc_thresh3", "16384", "the same for IPv6"),
    set("net/ipv4/icmp_echo_ignore_broadcasts", "1", "no amplifier"),
    set("net/ipv4/tcp_syncookies", "1", "half-open connections do not keep others out"),
    set("net/ipv4/tcp_rfc1337", "1", "old segments do not end new connections"),
    set("net/ipv4/ip_forward", "0", "the plane is no router"),
];

#[derive(Debug, Default)]
pub struct Report {
    /// Files that have the wanted value now.
    pub set: usize,
    /// Settings that this kernel has not.
    pub unknown: Vec<&'static str>,
    /// Files that could not be written.
    pub refused: Vec<(PathBuf, io::Error)>,
}

/// Writes `settings` below `root`.
pub fn apply(root: &Path, settings: &[Setting]) -> Report {
    let mut report = Report::default();
    for setting in settings {
        let files = expand(root, setting.path);
        if files.is_empty() {
            report.unknown.push(setting.path);
        }
        for file in files {
            match write(&file, setting.value) {
                Ok(()) => report.set += 1,
                Err(error) => report.refused.push((file, error)),
            }
        }
    }
    report
}

/// Interfaces that are there already do not follow `default`; hence each is written to.
fn expand(root: &Path, path: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in path.split('/') {
        found = if part == EACH {
            found.iter().flat_map(|dir| entries(dir)).collect()
        } else {
            found.iter().map(|dir| dir.join(part)).collect()
        };
    }
    found.retain(|file| file.exists());
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Some settings can be raised only once; one that has its value already is left alone.
fn write(file: &Path, value: &str) -> io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(file, value)
}

/// Keeps routers that announce themselves from configuring this interface; for those with an address of their own.
pub fn ignore_router_advertisements(root: &Path, interface: &str) -> io::Result<()> {
    let file = root.join("net/ipv6/conf").join(interface).join("accept_ra");
    match write(&file, "0") {
        // No IPv6 in this kernel.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to set {count} of the kernel's settings, first {first}")]
struct Refused {
    count: usize,
    first: String,
    source: io::Error,
}

/// The phase: the kernel's settings, and PID 1's own place at the end of the queue for the out-of-memory killer. In a
/// container the kernel is the host's, and is left as it is.
pub fn harden(context: &Context) -> Outcome {
    // The kernel spares PID 1 of the machine anyway, but not that of a container.
    if let Err(error) = fs::write(OOM_SCORE, NEVER) {
        tracing::info!(%error, "PID 1 keeps its out-of-memory score");
    }
    if context.container {
        tracing::info!("kernel settings are the host's");
        return Ok(());
    }
    let report = apply(Path::new(ROOT), &SETTINGS);
    tracing::info!(set = report.set, unknown = report.unknown.len(), "kernel settings");
    for setting in &report.unknown {
        tracing::info!(setting, "not a setting of this kernel");
    }
    let count = report.refused.len();
    for (file, error) in &report.refused {
        tracing::warn!(file = %file.display(), %error, "kernel setting refused");
    }
    match report.refused.into_iter().next() {
        None => Ok(()),
        Some((file, source)) => Err(Refused { count, first: file.display().to_string(), source }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, value) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        dir
    }

    fn read(dir: &tempfile::TempDir, path: &str) -> String {
        fs::read_to_string(dir.path().join(path)).unwrap().trim().to_owned()
    }

    #[test]
    fn each_interface_and_those_to_come_are_set() {
        let dir = tree(&[
            ("kernel/kptr_restrict", "0\n"),
            ("net/ipv4/conf/all/accept_redirects", "1\n"),
            ("net/ipv4/conf/default/accept_redirects", "1\n"),
            ("net/ipv4/conf/eth0/accept_redirects", "1\n"),
        ]);
        let report = apply(dir.path(), &SETTINGS);
        assert_eq!(report.set, 4);
        assert!(report.refused.is_empty(), "{report:?}");
        assert!(report.unknown.contains(&"kernel/yama/ptrace_scope"));
        assert_eq!(read(&dir, "kernel/kptr_restrict"), "2");
        for interface in ["all", "default", "eth0"] {
            assert_eq!(read(&dir, &format!("net/ipv4/conf/{interface}/accept_redirects")), "0");
        }
    }

    #[test]
    fn a_refused_setting_leaves_the_others() {
        let dir = tree(&[("vm/mmap_min_addr", "0\n")]);
        // A directory in place of a file refuses to be written by root, too.
        fs::create_dir_all(dir.path().join("kernel/sysrq")).unwrap();
        let report = apply(dir.path(), &SETTINGS);
        assert_eq!(report.refused.len(), 1);
        assert_eq!(read(&dir, "vm/mmap_min_addr"), "65536");
    }

    #[test]
    fn router_advertisements_are_ignored_on_one_interface() {
        let dir = tree(&[("net/ipv6/conf/eth0/accept_ra", "1"), ("net/ipv6/conf/eth1/accept_ra", "1")]);
        ignore_router_advertisements(dir.path(), "eth0").unwrap();
        ignore_router_advertisements(dir.path(), "gone").unwrap();
        assert_eq!(read(&dir, "net/ipv6/conf/eth0/accept_ra"), "0");
        assert_eq!(read(&dir, "net/ipv6/conf/eth1/accept_ra"), "1");
    }

    #[test]
    fn what_the_break_in_test_found_is_set() {
        for (path, value) in [
            ("kernel/kptr_restrict", "2"),
            ("kernel/sysrq", "0"),
            ("kernel/yama/ptrace_scope", "3"),
            ("kernel/kexec_load_disabled", "1"),
            ("net/ipv4/conf/*/accept_redirects", "0"),
            ("net/ipv6/conf/*/accept_redirects", "0"),
            ("user/max_user_namespaces", "0"),
        ] {
            assert!(SETTINGS.iter().any(|setting| (setting.path, setting.value) == (path, value)), "{path}");
        }
    }

    #[test]
    fn answers_of_dhcp_servers_reach_an_interface_without_an_address() {
        // The client's socket (hostnet, `dhcp::socket`) hears nothing where the kernel wants a route to the sender.
        assert!(SETTINGS.iter().all(|setting| !setting.path.ends_with("/rp_filter")));
    }
}
