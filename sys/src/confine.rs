//! A program that faces the network gives up what it does not need, for the rest of its life: files by Landlock,
//! system calls by seccomp.
//!
//! To be called before there are other threads: both hold for the calling thread and all that it starts. It must
//! never keep a program from running: what an old kernel cannot do is told to the caller and left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Of the image's kernel, 6.12; newer rights would be refused there and only be noise here.
const LANDLOCK: ABI = ABI::V6;
/// What every program may read: resolver and libraries, and what the C library and the runtime ask the kernel.
const READABLE: [&str; 8] = [
    "/etc",
    "/run/resolv",
    "/lib",
    "/usr/lib",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/class/net",
    "/sys/devices",
];
/// Devices that hold nothing.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];

/// System calls that no server needs and that help an intruder.
const DENIED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_syslog,
    libc::SYS_personality,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

/// Families of sockets that reach past IP (packets as they are on the wire) or into little used parts of the kernel.
const DENIED_FAMILIES: [libc::c_int; 5] =
    [libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK, libc::AF_BLUETOOTH, libc::AF_CAN];

/// What a program keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files and directories (with all below) that it reads.
    pub reads: Vec<PathBuf>,
    /// Directories in which it also makes, changes and removes files.
    pub writes: Vec<PathBuf>,
    /// Devices that it reads, writes and controls.
    pub devices: Vec<PathBuf>,
}

/// How far the kernel could go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// All of it.
    Fully,
    /// An old kernel: some of it.
    Partly,
    /// This kernel has no Landlock; system calls are filtered all the same.
    SystemCallsOnly,
}

/// Why a program is not confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Landlock.
    #[error("failed to restrict files")]
    Files(#[source] landlock::RulesetError),
    /// The filter.
    #[error("failed to make the filter of system calls")]
    Filter(#[source] seccompiler::BackendError),
    /// seccomp.
    #[error("failed to filter system calls")]
    SystemCalls(#[source] seccompiler::Error),
}

/// Confines the calling thread and everything that it starts.
///
/// # Errors
/// When the kernel refuses what it claims to know; the program is then less confined, or not at all.
pub fn confine(needs: &Needs) -> Result<Enforced, Error> {
    let files = restrict_files(needs).map_err(Error::Files)?;
    filter_system_calls(DENIED, wire_sockets().map_err(Error::Filter)?)?;
    Ok(files)
}

/// Confines a process that only starts `programs` (files, or directories with all below) and passes them descriptors: no
/// other file can be executed, none but these and `reads` be read, none be written, and no socket be made.
///
/// # Errors
/// When system calls cannot be filtered. What this kernel's Landlock cannot do is in the answer.
pub(crate) fn confine_launcher(programs: &[PathBuf], reads: &[PathBuf]) -> Result<Enforced, Error> {
    let files = restrict_to_programs(programs, reads).map_err(Error::Files)?;
    let denied: Vec<_> = DENIED.iter().copied().filter(|number| *number != libc::SYS_execve).collect();
    // A rule without conditions: whatever the family.
    filter_system_calls(&denied, Vec::new())?;
    Ok(files)
}

/// Confines, and says in one line how far; a program that could not be confined runs all the same.
pub fn confine_and_say(needs: &Needs) {
    match confine(needs) {
        Ok(Enforced::Fully) => tracing::info!("confined: files and system calls"),
        Ok(enforced) => tracing::warn!(?enforced, "confined as far as this kernel can"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "not confined");
        }
    }
}

/// The directories of these files: a file that is replaced is another one, and a rule names what is there now.
pub fn directories_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    files.into_iter().filter_map(Path::parent).map(Path::to_owned).collect()
}

fn restrict_files(needs: &Needs) -> Result<Enforced, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Everything but programs and devices.
    let write = AccessFs::from_all(LANDLOCK)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    for path in READABLE.iter().map(Path::new).chain(needs.reads.iter().map(PathBuf::as_path)) {
        rules = allow(rules, path, read)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in &needs.writes {
        rules = allow(rules, path, write)?;
    }
    for path in &needs.devices {
        rules = allow(rules, path, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev)?;
    }
    enforce(rules)
}

fn restrict_to_programs(programs: &[PathBuf], reads: &[PathBuf]) -> Result<Enforced, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    for path in reads {
        rules = allow(rules, path, read)?;
    }
    for path in programs {
        rules = allow(rules, path, read | AccessFs::Execute)?;
    }
    enforce(rules)
}

fn enforce(rules: RulesetCreated) -> Result<Enforced, landlock::RulesetError> {
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::SystemCallsOnly,
    })
}

/// A path that does not exist cannot be allowed; the program itself reports its absence.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(handle) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
    rules.add_rule(PathBeneath::new(handle, access))
}

/// Sockets of the families that no program of ours uses.
fn wire_sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |family: libc::c_int| {
        let family = u64::try_from(family).unwrap_or(u64::MAX);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
        SeccompRule::new(vec![condition])
    };
    DENIED_FAMILIES.into_iter().map(rule).collect()
}

/// Denied calls fail with EPERM: a library that tries one has a way around it, and a log line says more than a core.
fn filter_system_calls(denied: &[libc::c_long], sockets: Vec<SeccompRule>) -> Result<(), Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        denied.iter().map(|number| (*number, Vec::new())).collect();
    rules.insert(libc::SYS_socket, sockets);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter: seccompiler::BpfProgram = TargetArch::try_from(std::env::consts::ARCH)
        .and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, refused, arch))
        .and_then(TryInto::try_into)
        .map_err(Error::Filter)?;
    seccompiler::apply_filter(&filter).map_err(Error::SystemCalls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::process::Command;

    /// Confinement is for ever, so each test has a thread of its own for it.
    fn confined<T: Send + 'static>(needs: Needs, act: impl FnOnce(Enforced) -> T + Send + 'static) -> T {
        std::thread::spawn(move || act(confine(&needs).unwrap())).join().unwrap()
    }

    fn landlock_is_there(enforced: Enforced) -> bool {
        let there = enforced != Enforced::SystemCallsOnly;
        assert!(
            there || std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
            "this kernel has no Landlock: run elsewhere, or leave it out with BLOOMERY_INCOMPLETE_TESTS=1"
        );
        there
    }

    #[test]
    fn a_confined_thread_reads_only_what_it_needs_and_writes_only_where_it_may() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for directory in ["pki", "env", "plane"] {
            std::fs::create_dir(at(directory)).unwrap();
            std::fs::write(at(directory).join("file"), directory).unwrap();
        }
        let (pki, env, plane) = (at("pki"), at("env"), at("plane"));
        let needs =
            Needs { reads: vec![env.clone(), at("gone")], writes: vec![plane.clone()], ..Needs::default() };
        confined(needs, move |enforced| {
            if !landlock_is_there(enforced) {
                return;
            }
            let refused = |outcome: std::io::Result<String>| outcome.unwrap_err().kind();
            assert_eq!(refused(std::fs::read_to_string(pki.join("file"))), ErrorKind::PermissionDenied);
            assert_eq!(std::fs::read_dir(&pki).unwrap_err().kind(), ErrorKind::PermissionDenied);
            // No way around by its own descriptor table.
            let around = format!("/proc/self/root{}", pki.join("file").display());
            assert_eq!(refused(std::fs::read_to_string(around)), ErrorKind::PermissionDenied);
            assert_eq!(std::fs::read_to_string(env.join("file")).unwrap(), "env");
            let written = std::fs::write(env.join("file"), "x").unwrap_err();
            assert_eq!(written.kind(), ErrorKind::PermissionDenied);
            std::fs::write(plane.join("new"), "x").unwrap();
            std::fs::rename(plane.join("new"), plane.join("file")).unwrap();
            std::fs::remove_file(plane.join("file")).unwrap();
            assert!(std::fs::read_to_string("/proc/self/status").is_ok());
        });
    }

    #[test]
    fn a_confined_thread_starts_no_program() {
        let needs = Needs { reads: vec!["/".into()], ..Needs::default() };
        confined(needs, |_| {
            let error = Command::new("/bin/true").status().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn a_confined_thread_has_the_network_but_not_the_wire() {
        confined(Needs::default(), |_| {
            use rustix::net::{AddressFamily, SocketType, socket};
            socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
            socket(AddressFamily::NETLINK, SocketType::DGRAM, None).unwrap();
            let wire = socket(AddressFamily::PACKET, SocketType::DGRAM, None);
            assert_eq!(wire.unwrap_err(), rustix::io::Errno::PERM);
            assert_eq!(rustix::process::chroot("/").unwrap_err(), rustix::io::Errno::PERM);
            // Threads are made as before.
            std::thread::spawn(|| ()).join().unwrap();
        });
    }
}
